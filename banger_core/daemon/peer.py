"""Who may connect: the same user, or root; asked of the kernel, not of the peer."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct

from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger("banger.daemon")


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
