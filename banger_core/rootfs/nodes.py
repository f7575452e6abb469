"""What the file system will hold: one node per inode, names only in their directories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from banger_core.model import EntryKind

NO_XATTRS: Mapping[bytes, bytes] = {}
_NO_DEVICE = (0, 0)
_DIRECTORY = EntryKind.DIRECTORY


class Extent(NamedTuple):
    """``blocks`` blocks of a file from its block ``logical`` on, at block ``start`` of the disk."""

    logical: int
    start: int
    blocks: int


class Node:
    """An inode to be. ``layer`` is the last layer that made or named it, ``links`` its names.

    One per file of an image: slots instead of a dataclass's dictionary, and no owner object.
    """

    __slots__ = (
        "children",
        "extents",
        "gid",
        "kind",
        "layer",
        "link",
        "links",
        "mode",
        "mtime_ns",
        "number",
        "rdev",
        "size",
        "uid",
        "xattrs",
    )

    def __init__(self, kind: EntryKind, mode: int, layer: int) -> None:
        self.kind = kind
        self.mode = mode
        self.layer = layer
        self.uid = 0
        self.gid = 0
        self.mtime_ns = 0
        self.size = 0
        self.links = 0
        self.link = b""
        self.rdev = _NO_DEVICE
        self.xattrs = NO_XATTRS
        self.extents: tuple[Extent, ...] = ()
        self.number = 0
        self.children: dict[bytes, Node] | None = {} if kind is _DIRECTORY else None


Directory: TypeAlias = dict[bytes, Node]
