"""The networks that need no privileges; banger's own plugin."""
