"""Where the daemon tells the relay what to publish: one JSON object per message of a Unix
sequenced-packet socket, with the listening socket beside it (SCM_RIGHTS, unix(7)), and one back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

from banger_firecracker.host.card import Card
from banger_firecracker.host.forward import Forwarder

LONGEST = 1 << 12


class Control:
    """Serves on ``listener``, for as long as the event loop runs."""

    def __init__(self, listener: socket.socket, forwarder: Forwarder, card: Card) -> None:
        self._listener, self._forwarder, self._card = listener, forwarder, card
        self._clients: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def close(self) -> None:
        """Hang up on everybody."""
        loop = asyncio.get_running_loop()
        for each in (self._listener, *self._clients):
            loop.remove_reader(each)
            each.close()
        self._clients.clear()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            client, _ = self._listener.accept()
            client.setblocking(False)
            self._clients.add(client)
            asyncio.get_running_loop().add_reader(client, self._read, client)

    def _read(self, client: socket.socket) -> None:
        try:
            data, handles, _, _ = socket.recv_fds(client, LONGEST, 1)
        except BlockingIOError:
            return
        except OSError:
            data, handles = b"", []
        listeners = [socket.socket(fileno=handle) for handle in handles]
        if not data:
            asyncio.get_running_loop().remove_reader(client)
            self._clients.discard(client)
            client.close()
            return
        task = asyncio.create_task(self._handle(client, data, listeners))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(
        self, client: socket.socket, data: bytes, listeners: list[socket.socket]
    ) -> None:
        try:
            answer = await self._answer(json.loads(data), listeners)
        except (ValueError, TypeError, KeyError, OSError) as problem:
            answer = {"error": str(problem)}
        with contextlib.suppress(OSError):
            client.send(json.dumps(answer).encode())

    async def _answer(
        self, request: dict[str, Any], listeners: list[socket.socket]
    ) -> dict[str, Any]:
        """``hello`` is answered by an empty object; ``connect`` lets the guest's card go; ``add``
        and ``remove`` name a host's end.
        """
        if request["do"] == "hello":
            return {}
        if request["do"] == "connect":
            self._card.connect()
            return {}
        key = (str(request["protocol"]), str(request["address"]), int(request["port"]))
        if request["do"] == "add" and listeners:
            await self._forwarder.add(key, int(request["guest_port"]), listeners[0])
        elif request["do"] == "remove":
            self._forwarder.remove(key)
        else:
            raise ValueError(f"cannot {request['do']}")
        return {}
