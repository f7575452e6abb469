"""Plugins: found through entry points, remembered in an index, isolated when they are used."""
