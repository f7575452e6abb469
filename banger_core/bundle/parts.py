"""Sparse files as parts: where their content lies, whatever holes a host's file system keeps.

Parts are runs of 64 KiB that are not all zeros, so that the same content gives the same parts
everywhere. The digest of a sparse file is the SHA-256 of its parts' bytes one after the other,
then one line ``OFFSET SIZE`` (decimal) for each part, then one line with the file's size.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from banger_core.rootfs.disks import data_ranges

GRAIN = 1 << 16
PARTS_MAX = 100_000
"""More parts than that, and neighbours are joined: archives have limits of their own."""

CHUNK = 1 << 20

Parts = list[tuple[int, int]]
"""(offset, size) of each part, in order."""

Tell = Callable[[int], None]
"""Gets how many bytes have been read; may raise to stop."""


class SparseDigest:
    """Takes the content of a sparse file in order, and gives its size, parts and digest."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._parts: Parts = []
        self.size = self.stored = 0

    def data(self, chunk: bytes | memoryview) -> None:
        """The next bytes."""
        if not chunk:
            return
        if self._parts and sum(self._parts[-1]) == self.size:
            offset, length = self._parts[-1]
            self._parts[-1] = offset, length + len(chunk)
        else:
            self._parts.append((self.size, len(chunk)))
        self._hash.update(chunk)
        self.size += len(chunk)
        self.stored += len(chunk)

    def hole(self, size: int) -> None:
        """The next ``size`` bytes are zeros."""
        self.size += size

    def hexdigest(self) -> str:
        """The digest of all there was."""
        whole = self._hash.copy()
        whole.update(b"".join(b"%d %d\n" % part for part in self._parts))
        whole.update(b"%d\n" % self.size)
        return whole.hexdigest()


def find_parts(file: Path, tell: Tell) -> Parts:
    """Find the parts of ``file``."""
    grain = GRAIN
    parts: Parts = []
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(handle).st_size
        for start, end in _rounded(data_ranges(handle, size), size):
            for offset in range(start, end, CHUNK):
                tell(offset)
                data = os.pread(handle, min(CHUNK, end - offset), offset)
                _join(parts, _full(data, offset))
    finally:
        os.close(handle)
    while len(parts) > PARTS_MAX:
        grain *= 2
        coarse: Parts = []
        for offset, length in parts:
            start = offset // grain * grain
            end = min(-(-(offset + length) // grain) * grain, size)
            _join(coarse, [(start, end - start)])
        parts = coarse
    return parts


def _read_part(file: Path, offset: int, size: int) -> Iterator[bytes]:
    with file.open("rb", buffering=0) as source:
        source.seek(offset)
        while size and (chunk := source.read(min(CHUNK, size))):
            size -= len(chunk)
            yield chunk


def digest_of(file: Path, parts: Parts, tell: Tell) -> SparseDigest:
    """Read the parts of ``file`` and return its digest."""
    digest = SparseDigest()
    for chunk in read_into(digest, file, parts):
        del chunk
        tell(digest.stored)
    return digest


def read_into(digest: SparseDigest, file: Path, parts: Parts) -> Iterator[bytes]:
    """Yield the bytes of the parts of ``file``, and make ``digest`` that of the whole file."""
    for part in parts:
        digest.hole(part[0] - digest.size)
        for chunk in _read_part(file, *part):
            digest.data(chunk)
            yield chunk
    digest.hole(file.stat().st_size - digest.size)


def copy_parts(source: Path, target: Path, tell: Tell) -> SparseDigest:
    """Make the empty file ``target`` a copy of ``source`` that has holes wherever it can, and
    return the digest.
    """
    digest = SparseDigest()
    with target.open("r+b") as file:
        for chunk in read_into(digest, source, find_parts(source, tell)):
            # The digest has the chunk already
            file.seek(digest.size - len(chunk))
            file.write(chunk)
            tell(digest.size)
        file.truncate(digest.size)
    return digest


def _rounded(ranges: Iterable[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Widen ranges to whole grains; those that touch become one."""
    last: tuple[int, int] | None = None
    for start, end in ranges:
        start, end = start // GRAIN * GRAIN, min(-(-end // GRAIN) * GRAIN, size)  # noqa: PLW2901
        if last and start <= last[1]:
            last = last[0], end
            continue
        if last:
            yield last
        last = start, end
    if last:
        yield last


def _full(data: bytes, offset: int) -> Iterator[tuple[int, int]]:
    for at in range(0, len(data), GRAIN):
        grain = data[at : at + GRAIN]
        if grain.count(0) != len(grain):
            yield offset + at, len(grain)


def _join(parts: Parts, more: Iterable[tuple[int, int]]) -> None:
    for offset, length in more:
        if parts and offset <= sum(parts[-1]):
            start = parts[-1][0]
            parts[-1] = start, max(sum(parts[-1]), offset + length) - start
        else:
            parts.append((offset, length))


def write_sparse(file: BinaryIO, content: Iterable[bytes | memoryview | int], tell: Tell) -> None:
    """Write ``content`` (ints are holes) to the new file ``file``, and leave out what is zeros."""
    done = 0
    for chunk in content:
        if isinstance(chunk, int):
            done += chunk
        else:
            for at in range(0, len(chunk), GRAIN):
                piece = bytes(chunk[at : at + GRAIN])
                if piece.count(0) != len(piece):
                    file.seek(done + at)
                    file.write(piece)
            done += len(chunk)
        tell(done)
    file.truncate(done)
