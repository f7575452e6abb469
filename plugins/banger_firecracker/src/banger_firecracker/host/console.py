"""The guest's serial console: always read, so that the guest never waits, and kept in memory,
bounded, while nobody listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable

BACKLOG = 1 << 18
"""Bytes that are kept for whoever connects next; the oldest go first."""

_CHUNK = 1 << 16
_LAST = 1 << 11


class Console:
    """``printing`` is the pipe that the guest prints to, ``typing`` the one it reads from;
    ``listener`` hears everything. ``ended`` is set when nobody can print any more.
    """

    def __init__(self, printing: int, typing: int, listener: Callable[[bytes], None]) -> None:
        self._printing, self._typing, self._listener = printing, typing, listener
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._client: asyncio.StreamWriter | None = None
        self.ended = asyncio.Event()
        os.set_blocking(printing, False)
        os.set_blocking(typing, False)
        asyncio.get_running_loop().add_reader(printing, self._read)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client: first what was kept. The newest client takes the place of another."""
        if self._client is not None:
            self._client.close()
        self._client = writer
        for data in self._kept:
            writer.write(data)
        self._kept.clear()
        self._size = 0
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(_CHUNK):
                    # A guest that does not read loses what does not fit into the pipe
                    with contextlib.suppress(BlockingIOError, BrokenPipeError):
                        os.write(self._typing, data)
        finally:
            if self._client is writer:
                self._client = None
            writer.close()

    async def finish(self) -> None:
        """Read the rest, and return when the client has got it."""
        self._read()
        client, self._client = self._client, None
        if client is not None:
            client.close()
            with contextlib.suppress(OSError):
                await client.wait_closed()

    def unheard(self) -> bytes:
        """Return the last of what was kept for nobody."""
        return b"".join(self._kept)[-_LAST:]

    def _read(self) -> None:
        # A guest that prints without end must not keep the ports waiting
        try:
            data = os.read(self._printing, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._printing)
            self.ended.set()
            return
        self._listener(data)
        client = self._client
        if client is not None and client.transport.get_write_buffer_size() < BACKLOG:
            client.write(data)
        elif client is None:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._size += len(data)
        while self._size > BACKLOG:
            self._size -= len(self._kept.popleft())
