"""banger: a clean Linux machine in one command, built from plugins."""

from __future__ import annotations

__version__ = "0.1.0"
