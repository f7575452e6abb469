"""HTTP/1.1 answers (RFC 9112) read from a socket, under limits.

``http.client`` would bring ``email`` and ``ssl``: more than everything else the CLI imports.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from banger_core.errors import DaemonUnavailable

HEAD_MAX = 64 << 10
"""Longest status line and header fields together (bytes)."""

DOCUMENT_MAX = 64 << 20
"""Longest answer that is kept in memory as a whole (bytes)."""

LINE_MAX = 8 << 20
"""Longest line of an event stream (bytes)."""

_PIECE = 64 << 10


class Response:
    """One answer. ``idle`` is called whenever the socket's timeout passes without a byte: it
    raises to give up, or returns to wait on.

    Every method raises DaemonUnavailable when the answer breaks off or is no HTTP.
    """

    def __init__(self, connection: socket.socket, idle: Callable[[], None]) -> None:
        self._socket = connection
        self._idle = idle
        self._buffer = bytearray()
        self.status, self.headers = self._head()

    def read(self) -> bytes:
        """Return the whole body."""
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > DOCUMENT_MAX:
                raise _broken("its answer is too long")
        return bytes(body)

    def lines(self) -> Iterator[bytes]:
        """Yield the body's lines without their ends; empty ones are left out."""
        rest = b""
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            yield from filter(None, whole)
            if len(rest) > LINE_MAX:
                raise _broken("a line of its answer is too long")
        if rest:
            yield rest

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        elif "content-length" in self.headers:
            yield from self._counted(_number(self.headers["content-length"].encode(), 10))
        else:
            while self._buffer or self._fill():
                yield self._take(len(self._buffer))

    def _head(self) -> tuple[int, dict[str, str]]:
        room = HEAD_MAX
        lines = []
        while line := self._line(room):
            lines.append(line)
            room -= len(line) + 2
        start = lines[0].split(" ", 2) if lines else []
        if len(start) < 2 or not start[0].startswith("HTTP/1.") or not start[1].isdecimal():
            raise _broken("its answer is no HTTP")
        fields = (line.partition(":") for line in lines[1:])
        return int(start[1]), {name.lower(): value.strip() for name, _, value in fields}

    def _chunks(self) -> Iterator[bytes]:
        while size := _number(self._line(1024).partition(";")[0].encode(), 16):
            yield from self._counted(size)
            self._line(2)
        while self._line(HEAD_MAX):
            pass

    def _counted(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._buffer and not self._fill():
                raise _broken("it closed the connection in the middle of an answer")
            piece = self._take(min(size, len(self._buffer)))
            size -= len(piece)
            yield piece

    def _line(self, room: int) -> str:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > room:
                raise _broken("a line of its answer is too long")
            if not self._fill():
                raise _broken("it closed the connection in the middle of an answer")
        if end > room:
            raise _broken("a line of its answer is too long")
        return self._take(end + 1).rstrip(b"\r\n").decode("latin-1")

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fill(self) -> bool:
        while True:
            try:
                data = self._socket.recv(_PIECE)
            except TimeoutError:
                self._idle()
            except OSError as problem:
                raise _broken(str(problem)) from problem
            else:
                self._buffer += data
                return bool(data)


def _number(text: bytes, base: int) -> int:
    digits = b"0123456789abcdefABCDEF" if base == 16 else b"0123456789"
    text = text.strip()
    if not text or len(text) > 15 or text.strip(digits):
        raise _broken("its answer has no length")
    return int(text, base)


def _broken(why: str) -> DaemonUnavailable:
    return DaemonUnavailable(
        "bangerd went away", cause=why, hints=["banger daemon logs", "run the command again"]
    )
