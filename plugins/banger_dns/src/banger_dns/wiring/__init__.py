"""Pointing this host's resolver at the responder, and undoing that. Runs in the command line."""
