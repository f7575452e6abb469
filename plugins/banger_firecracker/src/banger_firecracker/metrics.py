"""Firecracker's own counters, which it writes when it is asked to, and every minute."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from banger_core.api import GuestFailed

_LIMIT = 5.0
_POLL = 0.01


async def last_metrics(path: Path, flush: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
    """Have ``flush`` ask for the counters, and return them when they have come to ``path``.

    Raises what ``flush`` raises, and GuestFailed when they do not come.
    """
    before = _stamp(path)
    await flush()
    try:
        async with asyncio.timeout(_LIMIT):
            while _stamp(path) == before:  # noqa: ASYNC110 - the relay writes it, a process of its own
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise GuestFailed(
            "Firecracker does not write its metrics",
            cause="nothing came through its fifo",
            hints=["banger vm logs NAME"],
        ) from None
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise GuestFailed("Firecracker's metrics make no sense", cause=str(problem)) from problem
    return found if isinstance(found, dict) else {}


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ino
