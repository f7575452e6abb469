"""The content of a VM's disk, whatever it is an overlay of: what a new image is made from.

Reads qcow2 as QEMU leaves it (docs/interop/qcow2.txt, versions 2 and 3) over a raw base: no
compression, no encryption, no snapshots, no external data file. That is all that banger makes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from banger_core.errors import IntegrityError
from banger_core.rootfs.disks import data_ranges
from banger_core.rootfs.qcow2 import MAGIC, backing_file

_HEAD = struct.Struct(">4sIQIIQIIQQIIQ")
_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED = 1 << 62
_ZEROS = 1
_CHUNK = 1 << 20

Content = Iterator[bytes | int]
"""Bytes, and ints for holes of so many zero bytes."""


def flat_content(disk: Path) -> Content:
    """Yield the whole content of ``disk``, raw or qcow2, in order.

    Nobody may write to it meanwhile. Raises IntegrityError for a qcow2 file of another kind.
    """
    with disk.open("rb", buffering=0) as file:
        if file.read(4) != MAGIC:
            yield from _raw(file.fileno(), 0, os.fstat(file.fileno()).st_size)
            return
        overlay = _Overlay(file.fileno(), disk)
        base = backing_file(disk)
        if base is None:
            yield from overlay.content(None)
            return
        with base.open("rb", buffering=0) as below:
            yield from overlay.content(below.fileno())


class _Overlay:
    def __init__(self, handle: int, disk: Path) -> None:
        self._handle, self._disk = handle, disk
        head = os.pread(handle, 104, 0).ljust(104, b"\0")
        (_, version, _, _, bits, self.size, crypt, entries, table, _, _, snapshots, _) = (
            _HEAD.unpack_from(head)
        )
        incompatible = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
        if version not in (2, 3) or crypt or snapshots or incompatible or not 9 <= bits <= 21:
            raise self._strange("it uses what banger's disks never do")
        self._cluster = 1 << bits
        self._length = os.fstat(handle).st_size
        if entries > 1 << 24 or entries * (self._cluster // 8) * self._cluster < self.size:
            raise self._strange("its table of clusters is not of its size")
        self._table = struct.unpack(f">{entries}Q", self._read(table, entries * 8))

    def content(self, base: int | None) -> Content:
        """Yield the content over what ``base`` (a raw file's handle) has."""
        below = os.fstat(base).st_size if base is not None else 0
        at = 0
        for entry in self._table:
            for where in self._clusters(entry):
                if at >= self.size:
                    return
                size = min(self._cluster, self.size - at)
                if where is None:
                    inside = max(0, min(size, below - at))
                    if base is not None and inside:
                        yield from _raw(base, at, at + inside)
                    if inside < size:
                        yield size - inside
                elif where == 0:
                    yield size
                else:
                    yield self._read(where, size)
                at += size

    def _clusters(self, entry: int) -> Iterator[int | None]:
        """Where each cluster of one second-level table lies: None in the base, 0 nowhere."""
        count = self._cluster // 8
        if not (table := entry & _OFFSET):
            yield from [None] * count
            return
        for found in struct.unpack(f">{count}Q", self._read(table, self._cluster)):
            if found & _COMPRESSED:
                raise self._strange("it has packed clusters")
            if found & _ZEROS:
                yield 0
            else:
                yield found & _OFFSET or None

    def _read(self, offset: int, size: int) -> bytes:
        data = os.pread(self._handle, size, offset)
        if len(data) < size and offset + size > self._length + self._cluster:
            raise self._strange("it ends too early")
        # The file's last cluster may be cut where only zeros follow
        return data.ljust(size, b"\0")

    def _strange(self, why: str) -> IntegrityError:
        return IntegrityError(f"the disk {self._disk} cannot be read", cause=why)


def _raw(handle: int, start: int, end: int) -> Content:
    at = start
    for first, last in data_ranges(handle, end, start):
        if first >= end:
            break
        if first > at:
            yield first - at
        for offset in range(max(first, start), min(last, end), _CHUNK):
            yield os.pread(handle, min(_CHUNK, last - offset, end - offset), offset)
        at = min(last, end)
    if at < end:
        yield end - at
