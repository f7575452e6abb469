"""Whole images as files: what carries them from host to host, with no registry and no network."""
