"""A command that says which machines use which image."""
