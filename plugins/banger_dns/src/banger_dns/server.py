"""Sockets: UDP and TCP on one address (RFC 1035, 4.2; RFC 7766)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable

from banger_dns.answer import HEADER

Answer = Callable[..., bytes | None]

BURST = 64
"""How many datagrams are answered before anything else gets its turn."""

DATAGRAM = 4096
"""Longest question that is read over UDP."""

ROOM = 4 << 20
"""Bytes of questions that may wait in the kernel; it may grant less."""

CONNECTIONS = 128
"""How many TCP connections may be open; beyond, new ones are closed at once."""

PATIENCE = 10.0
"""Seconds that a TCP connection may be silent, or slow to take an answer."""


def family_of(address: str) -> socket.AddressFamily:
    """AF_INET or AF_INET6."""
    return socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6


def bind(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a TCP socket there. Raises OSError."""
    with contextlib.ExitStack() as stack:
        made = []
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            made.append(stack.enter_context(socket.socket(family_of(address), kind)))
            if kind is socket.SOCK_STREAM:
                made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made[-1].setblocking(False)
            made[-1].bind((address, port))
        made[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        made[1].listen(CONNECTIONS)
        stack.pop_all()
    return made[0], made[1]


class Server:
    """Answers whatever comes in on the two sockets of ``bind`` by calling ``answer``."""

    def __init__(self, udp: socket.socket, tcp: socket.socket, answer: Answer) -> None:
        self._udp, self._tcp, self._answer = udp, tcp, answer
        self._open = 0

    async def serve(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._udp, self._datagrams)
        try:
            async with await asyncio.start_server(self._connection, sock=self._tcp) as server:
                await server.serve_forever()
        finally:
            loop.remove_reader(self._udp)
            self._udp.close()

    def _datagrams(self) -> None:
        for _ in range(BURST):
            try:
                wire, peer = self._udp.recvfrom(DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                # What the kernel has to tell of an earlier answer that nobody took
                continue
            if reply := self._answer(wire, udp=True):
                # As good as lost on the way: whoever asked asks again
                with contextlib.suppress(OSError):
                    self._udp.sendto(reply, peer)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS:
                await self._questions(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            # It left, fell silent, or does not take what it asked for
            return
        finally:
            self._open -= 1
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(PATIENCE):
                size = int.from_bytes(await reader.readexactly(2))
                wire = await reader.readexactly(size)
            if size < HEADER or (reply := self._answer(wire, udp=False)) is None:
                return
            writer.write(len(reply).to_bytes(2) + reply)
            async with asyncio.timeout(PATIENCE):
                await writer.drain()
