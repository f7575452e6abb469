"""How long a server is waited for, and how often it is asked again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Times in seconds. ``pauses`` lie between attempts, so there is one attempt more.

    ``longest`` is the longest ``Retry-After`` that is heeded. ``connect`` and ``read`` bound one
    step, ``head`` everything up to the end of the answer's headers, ``document`` the body of one
    that is kept in memory. A blob that brings less than ``least`` bytes in ``window`` is cut.
    ``sleep``, ``now`` (since the epoch), ``clock`` (monotonic) and ``chance`` (0 to 1) are the
    world's.
    """

    pauses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    longest: float = 60.0
    connect: float = 10.0
    read: float = 30.0
    head: float = 45.0
    document: float = 60.0
    window: float = 60.0
    least: int = 64 << 10
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random

    def pause(self, number: int, asked: float | None) -> float:
        """Return how long to wait after attempt ``number`` (0 is the first): the step's pause,
        up to half of it more or less at random, and no less than the server ``asked`` for.
        """
        return max(self.pauses[number] * (0.5 + self.chance()), asked or 0.0)


def retry_after(value: str, now: float) -> float | None:
    """Read ``Retry-After`` (RFC 9110, 10.2.3): seconds from ``now`` on, None for nonsense."""
    text = value.strip()
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
