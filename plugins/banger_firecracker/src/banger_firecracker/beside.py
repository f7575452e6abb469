"""The daemon's end of the relay beside a VM."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from banger_core.api import (
    Conflict,
    Forward,
    GuestFailed,
    HostNotReady,
    ProcessId,
    identify_process,
    in_thread,
)

_LIMIT = 5.0
_BACKLOG = 128
_LONGEST = 1 << 12


class Relay:
    """The relay at the socket ``control``."""

    def __init__(self, control: Path) -> None:
        self._control = control

    async def process(self) -> ProcessId | None:
        """Return the relay's process, None when there is none any more."""
        try:
            return await in_thread(self._peer)
        except (OSError, ProcessLookupError):
            return None

    async def add(self, forward: Forward, listener: socket.socket) -> None:
        """Have what comes to ``listener`` forwarded. Raises Conflict when it is already."""
        request = {**_end(forward), "do": "add", "guest_port": forward.guest_port}
        await in_thread(self._ask, request, listener)

    async def remove(self, forward: Forward) -> None:
        """Have the relay stop listening there. Idempotent."""
        await in_thread(self._ask, {**_end(forward), "do": "remove"}, None)

    async def connect(self) -> None:
        """Have the card of a held machine connected. Idempotent. Raises GuestFailed."""
        await in_thread(self._ask, {"do": "connect"}, None)

    def _peer(self) -> ProcessId:
        with self._connect() as connection:
            row = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return identify_process(struct.unpack("iII", row)[0])

    def _ask(self, request: dict[str, Any], listener: socket.socket | None) -> None:
        handles = [] if listener is None else [listener.fileno()]
        try:
            with self._connect() as connection:
                socket.send_fds(connection, [json.dumps(request).encode()], handles)
                answer = json.loads(connection.recv(_LONGEST))
        except (OSError, ValueError) as problem:
            raise GuestFailed(
                "the machine's relay does not answer", cause=str(problem)
            ) from problem
        if refusal := answer.get("error"):
            if request["do"] == "connect":
                raise GuestFailed("the machine's card stays cut off", cause=str(refusal))
            raise Conflict(
                f"{request['protocol']} port {request['port']} cannot be published",
                cause=str(refusal),
                hints=["sudo ss -lntup"],
            )

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.settimeout(_LIMIT)
            connection.connect(str(self._control))
        except BaseException:
            connection.close()
            raise
        return connection


def listen(forward: Forward) -> socket.socket:
    """Listen at a forward's host end. Raises Conflict when that is taken, HostNotReady when this
    user may not.
    """
    tcp = forward.protocol == "tcp"
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    try:
        if tcp:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((forward.host_address, forward.host_port))
        if tcp:
            server.listen(_BACKLOG)
    except OSError as problem:
        server.close()
        place = f"{forward.protocol} port {forward.host_address}:{forward.host_port}"
        kind = HostNotReady if isinstance(problem, PermissionError) else Conflict
        raise kind(
            f"{place} cannot be published",
            cause=os.strerror(problem.errno or 0),
            hints=["ss -lntup"],
        ) from problem
    return server


def _end(forward: Forward) -> dict[str, Any]:
    return {
        "protocol": forward.protocol,
        "address": forward.host_address,
        "port": forward.host_port,
    }
