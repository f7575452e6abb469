"""Extent trees (Documentation/filesystems/ext4/ifork.rst): where the blocks of a file are."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from banger_core.rootfs.ext4 import BLOCK, Unreadable
from banger_core.rootfs.ext4.blocks import Run
from banger_core.rootfs.nodes import Extent

LONGEST = 32768
"""Most blocks of one extent; longer ones would mean "not written yet"."""

IN_INODE = 4
IN_BLOCK = (BLOCK - 12) // 12

_DEEPEST = 5
_MAGIC = 0xF30A
_HEADER = struct.Struct("<HHHHI")
_LEAF = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIHH")
_ONE = struct.Struct("<HHHHIIHHI36x")  # a header, one leaf and no more: as most files have it


class Storage(Protocol):
    """Where the blocks of a tree go."""

    def store(self, data: bytes) -> list[Run]:
        """Write one block of data and return where it is."""


class ExtentList:
    """The extents of a file as it is written, in order; what continues the last one joins it."""

    __slots__ = ("_done", "_last")

    def __init__(self) -> None:
        self._done: list[Extent] = []
        self._last: Extent | None = None

    def add(self, logical: int, start: int, blocks: int) -> None:
        """Say that ``blocks`` blocks of the file from ``logical`` on are at ``start``."""
        last = self._last
        if last and last.logical + last.blocks == logical and last.start + last.blocks == start:
            logical, start, blocks = last.logical, last.start, last.blocks + blocks
        elif last:
            self._done.append(last)
        while blocks > LONGEST:
            self._done.append(Extent(logical, start, LONGEST))
            logical, start, blocks = logical + LONGEST, start + LONGEST, blocks - LONGEST
        self._last = Extent(logical, start, blocks)

    def finish(self) -> tuple[Extent, ...]:
        """Return them all."""
        return (*self._done, self._last) if self._last else ()


def contiguous(runs: Iterable[Run]) -> tuple[Extent, ...]:
    """Return the extents of a file without holes whose blocks are ``runs``."""
    runs = list(runs)
    if len(runs) == 1 and runs[0][1] <= LONGEST:
        return (Extent(0, *runs[0]),)
    extents, logical = ExtentList(), 0
    for start, length in runs:
        extents.add(logical, start, length)
        logical += length
    return extents.finish()


def pack_tree(extents: tuple[Extent, ...], storage: Storage) -> tuple[bytes, list[Run]]:
    """Return the 60 bytes for the inode, and the blocks that hold the tree's lower levels.

    Four extents fit into the inode; more make a tree as deep as needed, its blocks as full as
    possible, which is how e2fsck would have it.
    """
    if len(extents) == 1:
        ((logical, start, blocks),) = extents
        return _ONE.pack(
            _MAGIC, 1, IN_INODE, 0, 0, logical, blocks, start >> 32, start & 0xFFFFFFFF
        ), []
    entries = [
        _LEAF.pack(e.logical, e.blocks, e.start >> 32, e.start & 0xFFFFFFFF) for e in extents
    ]
    firsts = [extent.logical for extent in extents]
    depth, used = 0, []
    while len(entries) > IN_INODE:
        packed, starts = [], []
        for part in _groups(len(entries)):
            block = _node(entries[part], IN_BLOCK, depth).ljust(BLOCK, b"\0")
            runs = storage.store(block)
            used.extend(runs)
            place = runs[0][0]
            packed.append(_INDEX.pack(firsts[part][0], place & 0xFFFFFFFF, place >> 32, 0))
            starts.append(firsts[part][0])
        entries, firsts, depth = packed, starts, depth + 1
    return _node(entries, IN_INODE, depth).ljust(60, b"\0"), used


def unpack_tree(
    node: bytes, fetch: Callable[[int], bytes], depth: int | None = None
) -> Iterator[Extent]:
    """Yield the extents in the tree that ``node`` (of an inode: 60 bytes) is the root of, in the
    order they are in; those that are not written yet have more than ``LONGEST`` blocks, which is
    how they are marked.

    ``fetch`` gives one block; it decides how many are too many. Raises Unreadable.
    """
    magic, entries, room, level, _ = _HEADER.unpack_from(node)
    if (
        magic != _MAGIC
        or not entries <= room <= (len(node) - _HEADER.size) // _LEAF.size
        or (level > _DEEPEST if depth is None else level != depth or not entries)
    ):
        raise Unreadable("a tree of extents is damaged")
    for at in range(_HEADER.size, _HEADER.size + entries * _LEAF.size, _LEAF.size):
        if level:
            _, low, high, _ = _INDEX.unpack_from(node, at)
            yield from unpack_tree(fetch(low | high << 32), fetch, level - 1)
        else:
            logical, blocks, high, low = _LEAF.unpack_from(node, at)
            yield Extent(logical, low | high << 32, blocks)


def _groups(length: int) -> Iterator[slice]:
    for at in range(0, length, IN_BLOCK):
        yield slice(at, at + IN_BLOCK)


def _node(entries: list[bytes], room: int, depth: int) -> bytes:
    return _HEADER.pack(_MAGIC, len(entries), room, depth, 0) + b"".join(entries)
