"""Events on a file descriptor, one JSON object a line, for the program that runs us."""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import threading
import time
from dataclasses import replace
from typing import Any

from banger_core.daemon.streams import frame
from banger_core.model import Event

WAITING = 256
"""Lines that may wait for a slow reader before whoever makes them has to wait, too."""

LAST_LINES = 5.0
"""Seconds that a reader gets for the last lines."""

_PACE = 0.02


class Emitter:
    """Writes events in the order in which they are given, numbered anew from 1.

    A thread writes them: a reader that does not read keeps nobody from stopping the machine, and
    one that has left does not end it.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._sequence = itertools.count(1)
        self._lines: queue.Queue[bytes] = queue.Queue(WAITING)
        self._over = threading.Event()
        # A daemon, since nothing ends a write that its reader keeps waiting
        self._writer = threading.Thread(target=self._write, name="events", daemon=True)
        self._writer.start()

    async def say(self, kind: str, *, vm: str = "", **data: Any) -> None:
        """Write an event of our own."""
        await self.pass_on(Event(seq=0, time=time.time(), kind=kind, vm=vm, data=data))

    async def pass_on(self, event: Event) -> None:
        """Write an event; waits while too many lines wait."""
        line = frame(replace(event, seq=next(self._sequence)))
        while self._writer.is_alive():
            try:
                self._lines.put_nowait(line)
                break
            except queue.Full:
                await asyncio.sleep(_PACE)

    async def close(self) -> None:
        """Return when all is written, when nobody reads, or after ``LAST_LINES`` seconds."""
        self._over.set()
        deadline = time.monotonic() + LAST_LINES
        while self._writer.is_alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - a thread
            await asyncio.sleep(_PACE)

    def _write(self) -> None:
        while not (self._over.is_set() and self._lines.empty()):
            try:
                line = self._lines.get(timeout=_PACE)
            except queue.Empty:
                continue
            try:
                while line:
                    line = line[os.write(self._handle, line) :]
            except OSError:
                return
