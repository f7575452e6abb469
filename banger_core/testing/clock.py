"""Time that jumps when a test says so."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_TURNS = 10


class Clock:
    """Stands before ``time.time`` and ``time.monotonic``, and so before the timers of asyncio.

    Time passes as usual (what really runs takes real time), and besides that as ``advance`` says.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        wall, monotonic = time.time, time.monotonic
        monkeypatch.setattr(time, "time", lambda: wall() + self._ahead)
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + self._ahead)

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once, and give what was waiting for them its turn."""
        self._ahead += seconds
        for _ in range(_TURNS):
            await asyncio.sleep(0)
