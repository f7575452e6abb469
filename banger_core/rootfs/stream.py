"""Streams of chunks: read ahead, decompressed by magic, verified by digest, bounded.

The parts are iterators that fit into each other; ``open_layer`` is the usual combination.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from banger_core.errors import HostileInput, IntegrityError
from banger_core.rootfs.decompress import make_decompressor
from banger_core.rootfs.reader import CHUNK

MAX_OUTPUT = 1 << 38
"""Bytes that one layer may expand to, unless the caller says otherwise."""

_DEPTH = 4
_MAGIC = 6


def open_layer(
    path: Path, *, digest: str = "", diff_id: str = "", limit: int = MAX_OUTPUT
) -> Iterator[bytes]:
    """Yield the uncompressed bytes of the file ``path``; the work happens in other threads.

    ``digest`` is the promised digest of the file, ``diff_id`` that of the uncompressed bytes; an
    empty one is not checked. Raises IntegrityError, at the latest after the last chunk, and
    HostileInput when more than ``limit`` bytes come out.
    """
    packed = verified(read_file(path), digest, path.name) if digest else read_file(path)
    chunks = read_ahead(decompressed(packed, limit=limit))
    # A thread of its own for the second hash as well: neither holds the interpreter
    return read_ahead(verified(chunks, diff_id, path.name)) if diff_id else chunks


def read_file(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in chunks."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def verified(chunks: Iterable[bytes], digest: str, what: str) -> Iterator[bytes]:
    """Yield ``chunks`` and compare their SHA-256 with ``digest`` (``sha256:HEX``) at the end.

    Raises IntegrityError, naming ``what``, when they differ.
    """
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
        yield chunk
    if f"sha256:{found.hexdigest()}" != digest:
        raise IntegrityError(
            f"{what} is not what was promised",
            cause=f"its digest is sha256:{found.hexdigest()}, promised was {digest[:80]}",
        )


def decompressed(chunks: Iterable[bytes], *, limit: int = MAX_OUTPUT) -> Iterator[bytes]:
    """Yield the uncompressed bytes of gzip, zstd, xz (told by magic) or plain ``chunks``.

    Several members or frames in a row are one stream, and zero bytes may follow the last, as tape
    blocks leave them. Raises IntegrityError for damage, truncation and anything else that follows;
    HostileInput beyond ``limit`` bytes; HostNotReady when no zstd library is installed.
    """
    source = _with_magic(iter(chunks))
    first = next(source, b"")
    total = 0
    for piece in _members(first, source):
        total += len(piece)
        if total > limit:
            raise HostileInput(
                "the layer expands to an absurd size", cause=f"more than {limit} bytes"
            )
        yield piece


def read_ahead(chunks: Iterable[bytes], depth: int = _DEPTH) -> Iterator[bytes]:
    """Yield ``chunks`` as a thread of their own produces them, at most ``depth`` ahead.

    An error of theirs is raised here, after the chunks before it. Closing the iterator ends the
    thread.
    """
    box: queue.Queue[bytes | _End] = queue.Queue(depth)
    stop = threading.Event()
    worker = threading.Thread(target=_produce, args=(chunks, box, stop), daemon=True)
    worker.start()
    end: _End | None = None
    try:
        while not isinstance(item := box.get(), _End):
            yield item
        end = item
        if end.problem is not None:
            raise end.problem
    finally:
        stop.set()
        # The producer may wait for room: what it still gives is thrown away up to its last word
        while end is None:
            item = box.get()
            end = item if isinstance(item, _End) else None
        worker.join()


class _End:
    """A producer's last word, with what stopped it."""

    __slots__ = ("problem",)

    def __init__(self, problem: BaseException | None) -> None:
        self.problem = problem


def _produce(
    chunks: Iterable[bytes], box: queue.Queue[bytes | _End], stop: threading.Event
) -> None:
    problem: BaseException | None = None
    try:
        for chunk in chunks:
            if stop.is_set():
                break
            box.put(chunk)
    except BaseException as caught:  # noqa: BLE001 - raised again in the consumer's thread
        problem = caught
    box.put(_End(problem))


def _with_magic(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Make the first chunk long enough to tell the format."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _MAGIC:
            yield head
            yield from chunks
            return
    if head:
        yield head


def _members(first: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    engine = make_decompressor(first)
    if engine is None:
        yield first
        yield from source
        return
    for data in chain((first,), source):
        rest = data
        while rest:
            if engine.ended:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                engine = make_decompressor(first) or engine
            yield from engine.feed(rest)
            rest = engine.rest
    if not engine.ended:
        raise IntegrityError("the layer is truncated", cause="its compressed stream does not end")
