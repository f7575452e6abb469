"""uvicorn around the application: our socket, our check of who connects."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from banger_core.daemon.app import build_app
from banger_core.engine.engine import Engine

log = logging.getLogger("banger.daemon")

GRACE = 3
"""Seconds that open requests get when the daemon stops."""


class PeerCheckedProtocol(H11Protocol):
    """HTTP/1.1 for peers of the same user (or root) only, by SO_PEERCRED (unix(7))."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Drop the connection at once when it comes from another user."""
        if not allowed(transport.get_extra_info("socket")):
            log.warning("a connection of another user was refused")
            transport.abort()
            return
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection, unless it was refused before it was known."""
        if hasattr(self, "transport") and self.transport is not None:
            super().connection_lost(exc)


def allowed(peer: socket.socket) -> bool:
    """Whether the process at the other end belongs to this user or to root."""
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    return uid in (os.geteuid(), 0)


class Daemon:
    """One running daemon."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._server: uvicorn.Server | None = None

    async def serve(self, listener: socket.socket) -> None:
        """Settle the past, then answer until ``stop`` or a signal. VMs outlive this."""
        await self._engine.open()
        config = uvicorn.Config(
            build_app(self._engine, self.stop),
            http=PeerCheckedProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE,
            server_header=False,
        )
        self._server = uvicorn.Server(config)
        try:
            await self._server.serve(sockets=[listener])
        finally:
            await self._engine.close()

    def stop(self) -> None:
        """Finish what is being answered and end."""
        if self._server is not None:
            self._server.should_exit = True


ASGI = Any
