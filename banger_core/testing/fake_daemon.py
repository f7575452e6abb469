"""A daemon without machines: real HTTP over a real Unix socket, with answers that a test gives."""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from banger_core import __version__
from banger_core.errors import BangerError, NotFound


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came in. ``query`` holds the first value of every key."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer in pieces, sent as they come. Dicts become lines of JSON."""

    pieces: Iterable[dict[str, Any] | bytes]


Answer = Callable[[Asked], Any]


class FakeDaemon:
    """Serves ``socket`` while a ``with`` block lasts.

    ``answers`` maps ``"GET /v1/vms"`` to a function from what was asked to the answer: a JSON
    value, a ``Stream``, or a raised BangerError. A key whose path ends in ``*`` takes all paths
    that begin so. ``asked`` lists all requests, oldest first. ``sent`` is called with each of them
    when its answer was sent.
    """

    def __init__(self, socket: Path, *, version: str = __version__) -> None:
        self.version = version
        self.socket = socket
        self.asked: list[Asked] = []
        self.sent: Callable[[Asked], object] = lambda _: None
        self.answers: dict[str, Answer] = {
            "GET /v1/status": self._status,
            "POST /v1/resolve": _resolved,
        }
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = os.umask(0o077)
        try:
            self._server = _Server(self, str(socket))
        finally:
            os.umask(before)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.socket.unlink(missing_ok=True)

    def answer(self, asked: Asked) -> Any:
        """Return the answer to one request. Raises what the answer raises."""
        self.asked.append(asked)
        name = f"{asked.method} {asked.path}"
        if name in self.answers:
            return self.answers[name](asked)
        for key, answer in self.answers.items():
            if key.endswith("*") and name.startswith(key[:-1]):
                return answer(asked)
        raise NotFound("route", name)

    def _status(self, _: Asked) -> Any:
        return {
            "version": self.version,
            "pid": os.getpid(),
            "state_dir": "",
            "started_at": time.time(),
            "plugins": 0,
            "vms": {"running": 0, "all": 0},
        }


def _resolved(asked: Asked) -> Any:
    """Every reference is the name and the id of a VM."""
    return {"vms": [{"id": each, "name": each} for each in asked.body["references"]]}


def operation(
    *events: dict[str, Any], result: Any = None, error: BangerError | None = None
) -> Stream:
    """The stream of an operation ``op1``: it starts, ``events`` happen, it is done or fails.

    An event is ``{"kind": …, …}``; what else it has becomes its ``data``.
    """
    last = (
        {"kind": "operation.failed", "error": error.to_dict()}
        if error
        else {"kind": "operation.done", "result": result}
    )
    return Stream([event(**each) for each in ({"kind": "operation.started"}, *events, last)])


def event(kind: str, *, vm: str = "", **data: Any) -> dict[str, Any]:
    """One event of the operation ``op1``."""
    return {"seq": 0, "time": 0.0, "kind": kind, "vm": vm, "operation": "op1", "data": data}


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, fake: FakeDaemon, path: str) -> None:
        self.fake = fake
        super().__init__(path, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell about defects, but not about clients that leave early: many tests want that."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "client"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        asked = Asked(self.command, unquote(parts.path), query, body)
        self._answer(asked)
        self.server.fake.sent(asked)

    def _answer(self, asked: Asked) -> None:
        try:
            answer = self.server.fake.answer(asked)
        except BangerError as problem:
            self._document(404 if isinstance(problem, NotFound) else 400, problem.to_dict())
            return
        if isinstance(answer, Stream):
            self._stream(answer)
        else:
            self._document(200, answer)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815  (http.server's names)

    def _begin(self, status: int, kind: str, framing: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header(*framing)
        self.send_header("X-Banger-Version", self.server.fake.version)
        self.end_headers()

    def _document(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self._begin(status, "application/json", ("Content-Length", str(len(data))))
        self._send(data)

    def _stream(self, stream: Stream) -> None:
        self._begin(200, "application/x-ndjson", ("Transfer-Encoding", "chunked"))
        for piece in stream.pieces:
            data = piece if isinstance(piece, bytes) else json.dumps(piece).encode() + b"\n"
            if data and not self._send(b"%x\r\n%s\r\n" % (len(data), data)):
                return
        self._send(b"0\r\n\r\n")

    def _send(self, data: bytes) -> bool:
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            return False
        return True
