"""Reading exact amounts from a stream of chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from banger_core.errors import IntegrityError

CHUNK = 1 << 19


class Readable(Protocol):
    """A binary file, a pipe, a response body: anything with ``read``."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; nothing at the end."""


def chunks_of(stream: Readable | Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of ``stream``, a binary readable or an iterable of chunks, in order."""
    if not hasattr(stream, "read"):
        yield from stream
        return
    while chunk := stream.read(CHUNK):
        yield chunk


class ByteReader:
    """Takes exact amounts from an iterator of chunks; holds one chunk at a time.

    ``offset`` is how many bytes of the stream have been taken so far.
    """

    __slots__ = ("_buffer", "_chunks", "_position", "offset")

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._position = 0
        self.offset = 0

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end of the stream."""
        end = self._position + size
        if end <= len(self._buffer):
            taken = self._buffer[self._position : end]
            self._position = end
            self.offset += size
            return taken
        return b"".join(self._pieces(size))

    def exactly(self, size: int) -> bytes:
        """Return the next ``size`` bytes. Raises IntegrityError when the stream ends before."""
        taken = self.take(size)
        if len(taken) < size:
            raise truncated()
        return taken

    def pipe(self, size: int) -> Iterator[memoryview]:
        """Yield the next ``size`` bytes without copying, in one piece when the chunk at hand has
        them all; those count as taken at once. Raises IntegrityError at a short end.
        """
        end = self._position + size
        if end > len(self._buffer):
            return self._pipe(size)
        piece = memoryview(self._buffer)[self._position : end]
        self._position = end
        self.offset += size
        return iter((piece,))

    def _pipe(self, size: int) -> Iterator[memoryview]:
        while size > 0:
            if self._position >= len(self._buffer) and not self._refill():
                raise truncated()
            piece = memoryview(self._buffer)[self._position : self._position + size]
            self._position += len(piece)
            self.offset += len(piece)
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> None:
        """Pass over ``size`` bytes. Raises IntegrityError when the stream ends before."""
        end = self._position + size
        if end > len(self._buffer):
            for _ in self._pipe(size):
                pass
            return
        self._position = end
        self.offset += size

    def drain(self) -> None:
        """Read to the end, so that whoever checks the stream has seen all of it."""
        while self._refill():
            pass

    def _refill(self) -> bool:
        # An empty chunk is no end: a decompressor may need more input before it gives output
        for chunk in self._chunks:
            if chunk:
                self._buffer, self._position = chunk, 0
                return True
        self._buffer, self._position = b"", 0
        return False

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            if self._position >= len(self._buffer) and not self._refill():
                return
            piece = self._buffer[self._position : self._position + size]
            self._position += len(piece)
            self.offset += len(piece)
            size -= len(piece)
            yield piece


def truncated() -> IntegrityError:
    """The error for a stream that ends in the middle of something."""
    return IntegrityError("the archive is truncated", cause="it ends in the middle of an entry")
