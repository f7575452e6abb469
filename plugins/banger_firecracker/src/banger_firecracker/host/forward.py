"""Ports of the guest, published at addresses of the host.

The listening sockets are handed in: whoever made them may bind there, and knows at once when the
port is taken. Connections to the guest begin in its network namespace, where this process is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import cast

MOST_TALKS = 512
"""UDP: how many addresses may talk to one port of the guest at a time."""

SILENCE = 60.0
"""UDP: seconds after which an address that said nothing is forgotten."""

_CONNECT_LIMIT = 20.0
_CHUNK = 1 << 16
_AT_ONCE = struct.pack("ii", 1, 0)

Key = tuple[str, str, int]
"""Protocol, address and port on the host."""


class Forwarder:
    """Forwards to the address ``guest``."""

    def __init__(self, guest: str) -> None:
        self._guest = guest
        self._open: dict[Key, asyncio.Server | asyncio.DatagramTransport] = {}

    async def add(self, key: Key, port: int, listener: socket.socket) -> None:
        """Forward what comes to ``listener`` to ``port`` of the guest. Raises ValueError where
        there is no guest to reach, or ``key`` is there already.
        """
        if not self._guest or key in self._open:
            listener.close()
            raise ValueError("there is such a forward" if self._guest else "there is no network")
        listener.setblocking(False)
        if key[0] == "tcp":

            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await self._connect(reader, writer, port)

            self._open[key] = await asyncio.start_server(connected, sock=listener)
        else:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams((self._guest, port)), sock=listener
            )
            self._open[key] = transport

    def remove(self, key: Key) -> None:
        """Stop listening; connections that are open go on. Idempotent."""
        if listening := self._open.pop(key, None):
            listening.close()

    def close(self) -> None:
        """Stop all listening."""
        for key in list(self._open):
            self.remove(key)

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        try:
            async with asyncio.timeout(_CONNECT_LIMIT):
                theirs = await asyncio.open_connection(self._guest, port)
        except (OSError, TimeoutError):
            # To whoever asked it looks as if nobody listened
            server = writer.get_extra_info("socket")
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            writer.transport.abort()
            return
        pumps = (_pump(reader, theirs[1]), _pump(theirs[0], writer))
        with contextlib.suppress(ConnectionError, OSError):
            await asyncio.gather(*pumps)
        for each in (writer, theirs[1]):
            each.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


class _Datagrams(asyncio.DatagramProtocol):
    """Takes datagrams from the host's side; each address there gets a socket to the guest."""

    def __init__(self, guest: tuple[str, int]) -> None:
        self._guest = guest
        self._talks: dict[tuple[str, int], _Talk] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        talk = self._talks.get(addr)
        if talk is not None:
            talk.send(data)
        elif len(self._talks) < MOST_TALKS:
            self._talks[addr] = talk = _Talk(lambda answer: self._answer(answer, addr))
            talk.send(data)
            task = asyncio.create_task(self._begin(talk, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def error_received(self, exc: Exception) -> None:
        """A client has gone; others go on."""

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        for talk in list(self._talks.values()):
            talk.end()

    async def _begin(self, talk: _Talk, addr: tuple[str, int]) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.create_datagram_endpoint(lambda: talk, remote_addr=self._guest)
            await talk.over.wait()
        except OSError:
            pass
        finally:
            talk.end()
            del self._talks[addr]

    def _answer(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(data, addr)


class _Talk(asyncio.DatagramProtocol):
    """One address of the host talking to one port of the guest."""

    def __init__(self, answer: Callable[[bytes], None]) -> None:
        self._answer = answer
        self._first: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.over = asyncio.Event()
        self._heard()

    def send(self, data: bytes) -> None:
        self._heard()
        if self._transport is not None:
            self._transport.sendto(data)
        elif len(self._first) < MOST_TALKS:
            self._first.append(data)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
        self.over.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        for data in self._first:
            self._transport.sendto(data)
        self._first.clear()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        del addr
        self._heard()
        self._answer(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens in the guest; that may change."""

    def _heard(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(SILENCE, self.over.set)
