"""What a file system that others made has in one directory: read bounded, and believing nothing.

Nothing is mounted, and no name in it ever reaches a program's command line. Every place is checked
against the file system's own size, no block can be counted twice, and whatever is not exactly as
the specification has it ends the reading.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from banger_core.model import EntryKind
from banger_core.rootfs.ext4 import Unreadable
from banger_core.rootfs.ext4.directories import unpack_directory
from banger_core.rootfs.ext4.extents import LONGEST, unpack_tree
from banger_core.rootfs.ext4.inodes import FAST_SYMLINK, RawInode, unpack_device, unpack_inode
from banger_core.rootfs.ext4.xattrs import unpack_xattrs
from banger_core.rootfs.names import MAX_FILE, MAX_TARGET
from banger_core.rootfs.nodes import Extent, Node
from banger_core.rootfs.tree import MAX_HARD_LINKS

ENTRIES_MAX = 200_000
"""Most names that are looked at; more, and nothing is read."""

EXTENTS_MAX = 400_000
"""Most pieces that its files lie in."""

KEPT_MAX = 64 << 20
"""Most bytes of names, targets of links and attributes that are kept in memory."""

_ROOT = 2
_FIRST = 11
_MAGIC = 0xEF53
_NOBODY = 2**32 - 1
_PLACE_MAX = 1 << 48

_EXTENTS, _WIDE = 0x40, 0x80
# Types in directories, extents, multiple mount protection, 64 bit, flexible groups, attributes in
# inodes, seed of the checksums, large directories: what does not change where things are
_KNOWN = 0x2 | _EXTENTS | _WIDE | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000
_ORPHANS = 0x10000

_DEVICES = (EntryKind.CHAR, EntryKind.BLOCK)


class DirectoryReader:
    """Reads one directory of the file system in ``disk``, a file descriptor. Raises Unreadable."""

    def __init__(self, disk: int) -> None:
        self._disk = disk
        raw = os.pread(disk, 1024, 1024).ljust(1024, b"\0")
        word = struct.Struct("<I").unpack_from
        incompatible, self.block = word(raw, 0x60)[0], 1024 << min(word(raw, 0x18)[0], 10)
        if struct.unpack_from("<H", raw, 0x38)[0] != _MAGIC or not incompatible & _EXTENTS:
            raise Unreadable("it is no ext4")
        if incompatible & ~_KNOWN or word(raw, 0x64)[0] & _ORPHANS or self.block > 4096:
            raise Unreadable("it has a feature that is not known, or was not unmounted")
        wide = bool(incompatible & _WIDE)
        self._blocks = word(raw, 0x04)[0] | (word(raw, 0x150)[0] << 32 if wide else 0)
        self._inodes, self._group_inodes = word(raw, 0x00)[0], word(raw, 0x28)[0]
        self._inode_size = struct.unpack_from("<H", raw, 0x58)[0] if word(raw, 0x4C)[0] else 128
        self._descriptor = struct.unpack_from("<H", raw, 0xFE)[0] if wide else 32
        self._check_geometry(wide)
        self._free_blocks, self._free_extents = self._blocks, EXTENTS_MAX
        self._entries = self._kept = 0

    def _check_geometry(self, wide: bool) -> None:
        sound = (
            self._group_inodes
            and 128 <= self._inode_size <= self.block
            and not self._inode_size & (self._inode_size - 1)
            and (64 if wide else 32) <= self._descriptor <= self.block
            and not self._descriptor & (self._descriptor - 1)
            and self._blocks * self.block <= os.fstat(self._disk).st_size
        )
        if not sound:
            raise Unreadable("its superblock is damaged")

    def read(self, name: bytes) -> Node | None:
        """Return the directory ``name`` of the root with all that is below it, None when there is
        none. Extents count in blocks of ``block`` bytes. Sockets are left out.
        """
        root = self._inode(_ROOT)
        number = next((inode for inode, found in self._rows(_ROOT, root) if found == name), None)
        if number is None:
            return None
        raw = self._inode(number)
        if raw.kind is not EntryKind.DIRECTORY:
            return None
        top = self._node(raw)
        assert top is not None
        top.links = 1
        known: dict[int, Node | None] = {number: top}
        to_do = [(number, raw, top)]
        while to_do:
            number, raw, directory = to_do.pop()
            for inode, entry in self._rows(number, raw):
                self._add(directory, entry, inode, known, to_do)
        return top

    def _add(
        self,
        directory: Node,
        name: bytes,
        number: int,
        known: dict[int, Node | None],
        to_do: list[tuple[int, RawInode, Node]],
    ) -> None:
        if number in known:
            node = known[number]
            if node is not None and node.children is not None:
                raise Unreadable("a directory has two names")
        else:
            raw = self._inode(number)
            node = known[number] = self._node(raw)
            if node is not None and node.children is not None:
                to_do.append((number, raw, node))
        if node is not None:
            assert directory.children is not None
            directory.children[name] = node
            node.links += 1
            if node.links > MAX_HARD_LINKS:
                raise Unreadable("a file has too many names")

    def _rows(self, number: int, raw: RawInode) -> Iterator[tuple[int, bytes]]:
        """Yield (inode, name) of a directory without ``.`` and ``..``, each name once."""
        seen: set[bytes] = set()
        for at, (inode, name) in enumerate(self._all_rows(raw)):
            self._entries += 1
            if self._entries > ENTRIES_MAX:
                raise Unreadable(f"it has more than {ENTRIES_MAX} names")
            if at < 2:
                if name != (b".", b"..")[at] or (not at and inode != number):
                    raise Unreadable("a directory does not begin with itself")
                continue
            if not name or name in (b".", b"..") or b"/" in name or b"\0" in name or name in seen:
                raise Unreadable("a name in a directory is none")
            if inode < _FIRST:
                raise Unreadable("a name in a directory is that of a hidden file")
            seen.add(name)
            yield inode, name

    def _all_rows(self, raw: RawInode) -> Iterator[tuple[int, bytes]]:
        if raw.kind is not EntryKind.DIRECTORY or raw.size % self.block:
            raise Unreadable("a directory is damaged")
        self._keep(raw.size)
        following = 0
        for logical, start, blocks in self._extents(raw):
            if logical != following:
                raise Unreadable("a directory has a hole")
            following += blocks
            for block in range(start, start + blocks):
                yield from unpack_directory(self._read(block))
        if following * self.block != raw.size:
            raise Unreadable("a directory is damaged")

    # --- inodes ----------------------------------------------------------------------------------

    def _inode(self, number: int) -> RawInode:
        if number > self._inodes:
            raise Unreadable("there is no such inode")
        group, index = divmod(number - 1, self._group_inodes)
        # They begin in the block behind that of the superblock, which lies at 1,024
        place = (1024 // self.block + 1) * self.block + group * self._descriptor
        described = self._pread(self._descriptor, place)
        (table,) = struct.unpack_from("<I", described, 0x08)
        if self._descriptor >= 64:
            table |= struct.unpack_from("<I", described, 0x28)[0] << 32
        place = table * self.block + index * self._inode_size
        return unpack_inode(self._pread(self._inode_size, place))

    def _node(self, raw: RawInode) -> Node | None:
        if raw.kind is None:
            return None
        if _NOBODY in (raw.uid, raw.gid):
            raise Unreadable("a file has an impossible owner")
        node = Node(raw.kind, raw.mode, 0)
        node.uid, node.gid, node.mtime_ns = raw.uid, raw.gid, raw.mtime_ns
        block = self._read(raw.xattr_block) if raw.xattr_block else b""
        if xattrs := unpack_xattrs(raw.behind, block):
            node.xattrs = xattrs
            self._keep(sum(len(name) + len(value) for name, value in xattrs.items()))
        if raw.kind is EntryKind.FILE:
            if raw.size > MAX_FILE:
                raise Unreadable("a file is too large")
            node.size, node.extents = raw.size, tuple(self._extents(raw))
        elif raw.kind is EntryKind.SYMLINK:
            node.link = self._target(raw)
            node.size = raw.size
        elif raw.kind in _DEVICES:
            node.rdev = unpack_device(raw.map)
        return node

    def _target(self, raw: RawInode) -> bytes:
        if not 0 < raw.size <= min(MAX_TARGET, self.block):
            raise Unreadable("a symbolic link is damaged")
        if raw.mapped:
            places = [start for logical, start, _ in self._extents(raw) if not logical]
            target = self._read(places[0])[: raw.size] if places else b""
        else:
            target = raw.map[: raw.size] if raw.size < FAST_SYMLINK else b""
        self._keep(len(target))
        if not target or b"\0" in target:
            raise Unreadable("a symbolic link is damaged")
        return target

    # --- blocks ----------------------------------------------------------------------------------

    def _extents(self, raw: RawInode) -> Iterator[Extent]:
        """Yield what is stored of a file, in order; what was never written is a hole."""
        if not raw.mapped:
            if raw.size:
                raise Unreadable("a file is stored as ext3 does")
            return
        following, end = 0, -(-raw.size // self.block)
        for logical, start, length in unpack_tree(raw.map, self._tree_block):
            blocks = length - LONGEST if length > LONGEST else length
            if not blocks or logical < following or not 0 < start <= self._blocks - blocks:
                raise Unreadable("a file is damaged: its pieces lie where none can be")
            following = logical + blocks
            self._spend(blocks)
            if length <= LONGEST and logical < end:
                yield Extent(logical, start, min(blocks, end - logical))

    def _tree_block(self, number: int) -> bytes:
        self._spend(1)
        return self._read(number)

    def _spend(self, blocks: int) -> None:
        self._free_blocks -= blocks
        self._free_extents -= 1
        if self._free_blocks < 0:
            raise Unreadable("its files share blocks")
        if self._free_extents < 0:
            raise Unreadable(f"its files lie in more than {EXTENTS_MAX} pieces")

    def _read(self, number: int) -> bytes:
        if not 0 < number < self._blocks:
            raise Unreadable("a block lies outside")
        return self._pread(self.block, number * self.block)

    def _pread(self, size: int, place: int) -> bytes:
        data = os.pread(self._disk, size, place) if place < _PLACE_MAX else b""
        if len(data) != size:
            raise Unreadable("it is cut off")
        return data

    def _keep(self, size: int) -> None:
        self._kept += size
        if self._kept > KEPT_MAX:
            raise Unreadable("its names and attributes are too much")
