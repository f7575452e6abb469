"""An audit log of banger as JSON lines."""
