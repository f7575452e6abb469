"""Inodes (Documentation/filesystems/ext4/inodes.rst): 256 bytes each."""

from __future__ import annotations

import struct
from typing import NamedTuple

from banger_core.model import EntryKind
from banger_core.rootfs.ext4 import Unreadable
from banger_core.rootfs.ext4.xattrs import mode_with_acl
from banger_core.rootfs.nodes import Node

SIZE = 256
FAST_SYMLINK = 60
"""Link targets shorter than this lie in the inode itself."""

_EXTENTS_FLAG = 0x80000
_EXTRA_SIZE = 32
_SECTORS = 8
_BEFORE_EXTRA = 128
_MTIME_EXTRA = 12  # as much of what is behind holds the rest of the time
_STRANGE_FLAGS = 0x800 | 0x200000 | 0x10000000  # encrypted, holds an attribute, content inside

_FORMATS = {
    EntryKind.FILE: 0o100000,
    EntryKind.DIRECTORY: 0o040000,
    EntryKind.SYMLINK: 0o120000,
    EntryKind.CHAR: 0o020000,
    EntryKind.BLOCK: 0o060000,
    EntryKind.FIFO: 0o010000,
}

# mode uid size atime ctime mtime dtime gid links blocks flags version i_block generation acl
# size_high fragment blocks_high acl_high uid_high gid_high checksum reserved
# extra_isize checksum_high ctime_x mtime_x atime_x crtime crtime_x version_high project
_INODE = struct.Struct("<HHIIIIIHHIII60sIIIIHHHHHHHHIIIIIII")


_SOCKET = 0o140000
_KINDS = {bits: kind for kind, bits in _FORMATS.items()}


class Placement(NamedTuple):
    """Where an inode's content is: its 60 bytes of map, and blocks used in all."""

    map: bytes
    blocks: int
    mapped: bool = True
    xattr_block: int = 0
    xattrs: bytes = b""


class RawInode(NamedTuple):
    """An inode as it is stored. ``kind`` None: a socket. Without ``mapped``, ``map`` is no tree of
    extents. ``behind`` is what follows its fields.
    """

    kind: EntryKind | None
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    mapped: bool
    map: bytes
    xattr_block: int
    behind: bytes


def pack_inode(node: Node, links: int, placement: Placement) -> bytes:
    """Return the inode of ``node``."""
    uid, gid, size = node.uid, node.gid, node.size
    seconds, extra = pack_time(node.mtime_ns)
    sectors = placement.blocks * _SECTORS
    fields = _INODE.pack(
        _FORMATS[node.kind] | mode_with_acl(node.mode, node.xattrs),
        uid & 0xFFFF,
        size & 0xFFFFFFFF,
        seconds,
        seconds,
        seconds,
        0,
        gid & 0xFFFF,
        links,
        sectors & 0xFFFFFFFF,
        _EXTENTS_FLAG if placement.mapped else 0,
        0,
        placement.map,
        0,
        placement.xattr_block & 0xFFFFFFFF,
        size >> 32,
        0,
        sectors >> 32,
        placement.xattr_block >> 32,
        uid >> 16,
        gid >> 16,
        0,
        0,
        _EXTRA_SIZE,
        0,
        extra,
        extra,
        extra,
        seconds,
        extra,
        0,
        0,
    )
    return (fields + placement.xattrs).ljust(SIZE, b"\0")


def pack_time(nanoseconds: int) -> tuple[int, int]:
    """Return the 32 bits of seconds and the extra field: two more bits, and nanoseconds.

    Times that 34 bits cannot hold (before 1901, after 2446) become the nearest that they can.
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    low = seconds & 0xFFFFFFFF
    signed = low - (low >> 31 << 32)
    epoch = (seconds - signed) >> 32
    if epoch < 0:
        return 0x80000000, 0
    if epoch > 3:
        return 0x7FFFFFFF, 3
    return low, rest << 2 | epoch


def unpack_inode(raw: bytes) -> RawInode:
    """Read an inode of at least 128 bytes. Raises Unreadable for one that is damaged, not in use,
    or has a feature that is not known.
    """
    fields = _INODE.unpack_from(raw.ljust(SIZE, b"\0"))
    mode, uid, low, _, _, seconds, _, gid, links, _, flags, _, place = fields[:13]
    acl, high, acl_high, uid_high, gid_high = (fields[at] for at in (14, 15, 18, 19, 20))
    extra = fields[23] if len(raw) > _BEFORE_EXTRA else 0
    kind = _KINDS.get(mode & 0o170000)
    if not links or (kind is None and mode & 0o170000 != _SOCKET):
        raise Unreadable("an inode is damaged")
    if flags & _STRANGE_FLAGS:
        raise Unreadable("a file is encrypted, or stored in a way that is not known")
    if extra % 4 or _BEFORE_EXTRA + extra > len(raw):
        raise Unreadable("an inode is damaged")
    return RawInode(
        kind,
        mode & 0o7777,
        uid | uid_high << 16,
        gid | gid_high << 16,
        low | high << 32,
        _unpack_time(seconds, fields[26] if extra >= _MTIME_EXTRA else 0),
        bool(flags & _EXTENTS_FLAG),
        place,
        acl | acl_high << 32,
        raw[_BEFORE_EXTRA + extra :] if extra else b"",
    )


def _unpack_time(low: int, extra: int) -> int:
    if extra >> 2 >= 10**9:
        raise Unreadable("a time is damaged")
    signed = low - (low >> 31 << 32)
    return (signed + ((extra & 3) << 32)) * 10**9 + (extra >> 2)


def pack_device(major: int, minor: int) -> bytes:
    """Return the map of a device node: the old 8:8 bits where they suffice, else 12:20."""
    if major < 256 and minor < 256:
        return struct.pack("<I", major << 8 | minor).ljust(60, b"\0")
    wide = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    return struct.pack("<II", 0, wide).ljust(60, b"\0")


def unpack_device(place: bytes) -> tuple[int, int]:
    """Return major and minor number out of a device's map."""
    old, wide = struct.unpack_from("<II", place)
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return wide >> 8 & 0xFFF, wide & 0xFF | wide >> 12 & 0xFFF00
