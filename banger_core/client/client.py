"""Requests to the daemon, one connection each."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import fspath, geteuid, lstat
from stat import S_ISSOCK
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from banger_core import __version__
from banger_core.client.wire import Response
from banger_core.errors import BangerError, DaemonUnavailable, UsageProblem

if TYPE_CHECKING:
    from pathlib import Path

CALL_TIMEOUT = 120.0
"""How long a single answer may take (seconds): a doctor boots guests to find out."""

CONNECT_TIMEOUT = 5.0
"""How long the socket may take to accept (seconds)."""

PROMPT = 1.5
"""A daemon that is not busy with its past answers sooner than that (seconds)."""

IDLE = 20.0
"""A stream that is silent for this long (seconds) makes the client ask whether all is well."""

_PAUSE = 0.02

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def url(*segments: str, **query: object) -> str:
    """Return ``/v1/SEGMENT/…?KEY=VALUE`` with everything percent-encoded (RFC 3986).

    Query values that are None, False or empty are left out; True becomes ``1``. Raises
    UsageProblem for a segment that cannot be a name or an id: it would be another path.
    """
    for segment in segments:
        if segment in ("", ".", "..") or (segments[0] == "vms" and "/" in segment):
            raise UsageProblem(
                f"{segment!r} is no name and no id",
                cause="what is here goes by its name, its id, or how the id begins",
                hints=[f"banger {segments[0].removesuffix('s')} list"],
            )
    path = "".join(f"/{_encoded(segment)}" for segment in ("v1", *segments))
    pairs = [
        f"{key}={_encoded('1' if value is True else str(value))}"
        for key, value in query.items()
        if value not in (None, False, "")
    ]
    return f"{path}?{'&'.join(pairs)}" if pairs else path


class Client:
    """The daemon behind one socket. Nothing is connected until something is asked.

    All methods raise DaemonUnavailable when it cannot be reached or trusted, and the daemon's
    own error when it refuses. ``daemon_version`` is what the last answer said.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.daemon_version = ""

    def call(
        self, method: str, target: str, body: Any = None, *, timeout: float = CALL_TIMEOUT
    ) -> Any:
        """Ask, and return the JSON document that is answered."""
        with self._exchange(method, target, body, timeout, _late) as response:
            return _document(response.read())

    def get(self, target: str) -> Any:
        """``call`` with GET."""
        return self.call("GET", target)

    def status(self, waiting: Callable[[], None] | None = None) -> dict[str, Any]:
        """Return how the daemon is doing. ``waiting`` is called whenever it has kept silent for
        ``PROMPT`` seconds, and raises to give up.
        """
        patience, idle = (PROMPT, waiting) if waiting else (CALL_TIMEOUT, _late)
        with self._exchange("GET", url("status"), None, patience, idle) as response:
            found = _document(response.read())
        return found if isinstance(found, dict) else {}

    def events(self, method: str, target: str, body: Any = None) -> Iterator[dict[str, Any]]:
        """Ask, and yield the events of the answer (newline-delimited JSON) as they come."""
        with self._exchange(method, target, body, IDLE, self._still_there) as response:
            for line in response.lines():
                event = _document(line)
                if not isinstance(event, dict) or "kind" not in event:
                    raise _nonsense("an event without a kind")
                yield event

    def text(self, target: str) -> Iterator[bytes]:
        """Ask, and yield the text of the answer as it comes."""
        with self._exchange("GET", target, None, IDLE, self._still_there) as response:
            yield from response.pieces()

    def _still_there(self) -> None:
        self.call("GET", url("status"), timeout=IDLE)

    @contextmanager
    def _exchange(
        self, method: str, target: str, body: Any, timeout: float, idle: Callable[[], None]
    ) -> Iterator[Response]:
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: banger\r\nConnection: close\r\n"
            f"X-Banger-Version: {__version__}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        with _open(self.path) as connection:
            connection.settimeout(timeout)
            try:
                connection.sendall(head.encode("ascii") + data)
            except OSError as problem:
                raise DaemonUnavailable(
                    "bangerd went away",
                    cause=str(problem),
                    hints=["banger daemon logs", "run the command again"],
                ) from problem
            response = Response(connection, idle)
            self.daemon_version = response.headers.get("x-banger-version", "")
            if response.status >= 400:
                raise _refusal(response)
            yield response


def _open(path: Path) -> socket.socket:
    # The peer's identity is what counts: it cannot be swapped after the look at the path
    try:
        facts = lstat(path)
    except OSError as problem:
        raise DaemonUnavailable("bangerd is not running", cause=str(problem)) from problem
    if not S_ISSOCK(facts.st_mode) or facts.st_uid != geteuid():
        raise DaemonUnavailable(
            f"{path} cannot be trusted",
            cause="it is not a socket of this user",
            hints=[f"ls -l {path}", "set BANGER_RUNTIME_DIR to a directory of your own"],
        )
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_TIMEOUT)
        _connect(connection, fspath(path))
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except BlockingIOError as problem:
        connection.close()
        raise DaemonUnavailable(
            "bangerd does not answer",
            cause="as many wait for it as can",
            hints=["banger daemon logs"],
        ) from problem
    except OSError as problem:
        connection.close()
        raise DaemonUnavailable("bangerd is not running", cause=str(problem)) from problem
    if (owner := struct.unpack("3i", credentials)[1]) != geteuid():
        connection.close()
        raise DaemonUnavailable(f"{path} cannot be trusted", cause=f"uid {owner} serves it")
    return connection


def _connect(connection: socket.socket, path: str) -> None:
    """Connect, also when the daemon's queue is full for a moment: such a socket fails at once
    (connect(2), EAGAIN).
    """
    deadline = monotonic() + CONNECT_TIMEOUT
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:
            if monotonic() > deadline:
                raise
            sleep(_PAUSE)
        else:
            return


def _refusal(response: Response) -> BangerError:
    data = _document(response.read())
    if isinstance(data, dict) and "error" in data:
        return BangerError.from_dict(data)
    return _nonsense(f"status {response.status}")


def _document(data: bytes) -> Any:
    try:
        return json.loads(data) if data else {}
    except ValueError as problem:
        raise _nonsense(str(problem)) from problem


def _nonsense(what: str) -> DaemonUnavailable:
    return DaemonUnavailable(
        "bangerd gave an answer that makes no sense",
        cause=what,
        hints=["banger daemon stop, then run the command again"],
    )


def _late() -> None:
    raise DaemonUnavailable("bangerd does not answer", hints=["banger daemon logs"])


def _encoded(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in data)
