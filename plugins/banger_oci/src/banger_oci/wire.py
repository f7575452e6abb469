"""Sockets for httpcore: large reads, addresses that were checked, and an end at any moment.

httpcore reads 64 KiB at a time, which costs a third of the throughput; and nobody can end one of
its requests from another thread.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpcore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PIECE = 512 << 10


class Aborted(Exception):
    """The work was told to end."""


class Wire(httpcore.NetworkBackend):
    """Opens connections to the addresses in ``addresses`` (by host), for one thread at a time."""

    def __init__(self, addresses: Mapping[str, Iterable[str]]) -> None:
        self._addresses = addresses
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._aborted = False

    @property
    def aborted(self) -> bool:
        """Whether it ended that way and is of no use any more."""
        return self._aborted

    def abort(self) -> None:
        """End what the wire's thread is doing, whatever that is, and all it would do later."""
        with self._lock:
            self._aborted = True
            for open_socket in self._sockets:
                with suppress(OSError):
                    # Not SSLSocket's own: that would let the reader have undeciphered bytes
                    socket.socket.shutdown(open_socket, socket.SHUT_RDWR)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Connect to the first address of ``host`` that answers."""
        problem: OSError = OSError("it has no address")
        for address in self._addresses[host]:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            fresh = self._watched(socket.socket(family, socket.SOCK_STREAM))
            try:
                fresh.settimeout(timeout)
                fresh.connect((address, port))
                fresh.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as failed:
                self.forget(fresh)
                problem = failed
            else:
                return _Stream(self, fresh)
        if isinstance(problem, TimeoutError):
            raise httpcore.ConnectTimeout("it does not answer") from problem
        raise httpcore.ConnectError(problem.strerror or str(problem)) from problem

    def encrypt(
        self, plain: socket.socket, context: ssl.SSLContext, name: str | None
    ) -> ssl.SSLSocket:
        """Put TLS over a connection; the handshake is still to be done."""
        secure = context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
        with self._lock:
            self._sockets.discard(plain)
        self._watched(secure)
        return secure

    def forget(self, old: socket.socket) -> None:
        """Close a connection."""
        with self._lock:
            self._sockets.discard(old)
            old.close()

    def _watched(self, fresh: socket.socket) -> socket.socket:
        with self._lock:
            if self._aborted:
                fresh.close()
                raise Aborted
            self._sockets.add(fresh)
        return fresh


class _Stream(httpcore.NetworkStream):
    """One connection."""

    def __init__(self, wire: Wire, connected: socket.socket) -> None:
        self._wire, self._socket = wire, connected

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there, as much as fits: httpcore takes more than it asks for."""
        self._socket.settimeout(timeout)
        try:
            return self._piece(max(max_bytes, _PIECE))
        except TimeoutError as late:
            raise httpcore.ReadTimeout("it stopped sending") from late
        except OSError as problem:
            raise httpcore.ReadError(problem.strerror or str(problem)) from problem

    def _piece(self, most: int) -> bytes:
        """TLS gives a record at a time, of 16 KiB: take all that have come by now."""
        first = self._socket.recv(most)
        if not first or not isinstance(self._socket, ssl.SSLSocket):
            return first
        pieces, size = [first], len(first)
        self._socket.settimeout(0)
        # Whatever is wrong apart from having to wait is wrong at the next read, too
        with suppress(OSError):
            while size < most and (piece := self._socket.recv(most - size)):
                pieces.append(piece)
                size += len(piece)
        return b"".join(pieces)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send everything."""
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(buffer)
        except TimeoutError as late:
            raise httpcore.WriteTimeout("it takes nothing") from late
        except OSError as problem:
            raise httpcore.WriteError(problem.strerror or str(problem)) from problem

    def close(self) -> None:
        """Close the connection."""
        self._wire.forget(self._socket)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Go on encrypted, with a server that proves to be ``server_hostname``."""
        try:
            secure = self._wire.encrypt(self._socket, ssl_context, server_hostname)
            self._socket = secure
            secure.settimeout(timeout)
            secure.do_handshake()
        except ssl.SSLCertVerificationError:
            self.close()
            raise
        except TimeoutError as late:
            self.close()
            raise httpcore.ConnectTimeout("it does not shake hands") from late
        except OSError as problem:
            self.close()
            raise httpcore.ConnectError(f"TLS: {problem.strerror or problem}") from problem
        return self

    def get_extra_info(self, info: str) -> Any:
        """Tell whether an idle connection has something to say (then it is of no use)."""
        if info == "is_readable":
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        return None
