"""The guest's network card, as far as others are let near it: the host's end of it is down while
the machine is held.
"""

from __future__ import annotations

from banger_firecracker.host import kernel
from banger_firecracker.host.options import TAP


class Card:
    """``held``: it is cut off, and this process still has the right to connect it."""

    def __init__(self, *, held: bool) -> None:
        self._held = held

    def connect(self) -> None:
        """Let frames pass, and give up the right to. Idempotent. Raises OSError."""
        if self._held:
            kernel.bring_up(TAP)
            kernel.drop_capabilities()
            self._held = False
