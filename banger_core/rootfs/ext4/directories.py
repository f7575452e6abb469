"""Directory blocks (Documentation/filesystems/ext4/directory.rst), linear.

e2fsck makes hashed directories of the large ones afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from banger_core.model import EntryKind
from banger_core.rootfs.ext4 import BLOCK, Unreadable

FILE_TYPES = {
    EntryKind.FILE: 1,
    EntryKind.DIRECTORY: 2,
    EntryKind.CHAR: 3,
    EntryKind.BLOCK: 4,
    EntryKind.FIFO: 5,
    EntryKind.SYMLINK: 7,
}

_ROOM = BLOCK - 12
"""The last twelve bytes stay free for the block's checksum."""

_ENTRY = struct.Struct("<IHBB")
_LEAST = 12


class Row(NamedTuple):
    """One name in a directory."""

    inode: int
    file_type: int
    name: bytes


def pack_directory(rows: Iterable[Row]) -> bytes:
    """Return whole blocks that hold ``rows``; ``.`` and ``..`` must come first."""
    blocks: list[bytes] = []
    block, last = bytearray(), 0
    for inode, file_type, name in rows:
        size = 8 + len(name) + 3 & ~3
        if len(block) + size > _ROOM:
            blocks.append(_closed(block, last))
            block = bytearray()
        last = len(block)
        block += _ENTRY.pack(inode, size, len(name), file_type)
        block += name.ljust(size - 8, b"\0")
    blocks.append(_closed(block, last))
    return b"".join(blocks)


def unpack_directory(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (inode, name) of what a directory's block holds; one of an index holds nothing, as it
    seems, which is what it is made to seem. Raises Unreadable.
    """
    at = 0
    while at < len(block):
        if len(block) - at < _LEAST:
            raise Unreadable("a directory is damaged")
        inode, step, length, _ = _ENTRY.unpack_from(block, at)
        if step < max(_LEAST, 8 + length) or step % 4 or at + step > len(block):
            raise Unreadable("a directory is damaged")
        if inode:
            yield inode, block[at + 8 : at + 8 + length]
        at += step


def _closed(block: bytearray, last: int) -> bytes:
    """The last entry of a block reaches to its end."""
    struct.pack_into("<H", block, last + 4, BLOCK - last)
    return bytes(block.ljust(BLOCK, b"\0"))
