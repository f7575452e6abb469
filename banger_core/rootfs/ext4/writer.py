"""Fills an empty ext4: file contents as they come, everything else at the end."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from banger_core.errors import HostileInput
from banger_core.model import EntryKind
from banger_core.rootfs.ext4 import BLOCK
from banger_core.rootfs.ext4.blocks import Bitmaps, BlockSpace, Run, set_bits
from banger_core.rootfs.ext4.directories import FILE_TYPES, Row, pack_directory
from banger_core.rootfs.ext4.extents import contiguous, pack_tree
from banger_core.rootfs.ext4.filewriter import write_content
from banger_core.rootfs.ext4.inodes import FAST_SYMLINK, Placement, pack_device, pack_inode
from banger_core.rootfs.ext4.inodetable import InodeTable
from banger_core.rootfs.ext4.superblock import Superblock
from banger_core.rootfs.ext4.xattrs import pack_xattrs
from banger_core.rootfs.nodes import Extent, Node

ROOT_INODE = 2
LOST_AND_FOUND = b"lost+found"

_SYMLINK = EntryKind.SYMLINK
_UNMAPPED = (EntryKind.CHAR, EntryKind.BLOCK, EntryKind.FIFO)

_MAX_SUBDIRECTORIES = 64_998
"""More, and ext4 stops counting links of a directory (feature dir_nlink)."""


class DoesNotFit(Exception):
    """The file system is too small: how many blocks and inodes it takes."""

    def __init__(self, blocks: int, inodes: int) -> None:
        super().__init__(f"{blocks} blocks and {inodes} inodes are needed")
        self.blocks, self.inodes = blocks, inodes


@dataclass(frozen=True, slots=True)
class Written:
    """What the file system holds: inodes in use, and blocks that content and names take."""

    inodes: int
    blocks: int


class Ext4Writer:
    """Writes one tree to the empty file system in ``disk``, a file descriptor."""

    def __init__(self, disk: int) -> None:
        self._disk = disk
        self._superblock = Superblock(disk)
        self._bitmaps = Bitmaps(disk, self._superblock)
        self._space = BlockSpace(disk, self._superblock, self._bitmaps)
        self._table = InodeTable(disk, self._superblock)
        self._used: list[Run] = []

    def write_file(self, node: Node, data: Iterable[bytes | memoryview | int]) -> None:
        """Write the content of ``node``; exactly ``node.size`` bytes."""
        node.extents = write_content(self._space, data, node.size)

    def free(self, node: Node) -> None:
        """Forget the content of a node that has no name any more."""
        self._space.free(_runs(node.extents))
        node.extents = ()

    def finish(self, root: Node) -> Written:
        """Write inodes, directories, maps and counts. Raises DoesNotFit."""
        lost_and_found = _lost_and_found(root)
        nodes = self._number(root, lost_and_found)
        last = max(self._superblock.first_inode, nodes[-1].number)
        stale = [run for number in (ROOT_INODE, lost_and_found.number) for run in self._old(number)]
        self._store_directories(root)
        fits = last <= self._superblock.inodes
        for node in nodes:
            inode = self._pack(node)
            if fits:
                self._table.put(node.number, inode)
        if not (fits and self._space.fits):
            raise DoesNotFit(self._space.needed, last)
        self._table.flush()
        self._space.erase_freed()
        self._account(nodes, last, stale)
        os.fsync(self._disk)
        return Written(inodes=last, blocks=sum(length for _, length in self._used))

    def _number(self, root: Node, lost_and_found: Node) -> list[Node]:
        """Give every node its inode number, those of one directory side by side."""
        root.number, lost_and_found.number = ROOT_INODE, self._superblock.first_inode
        nodes, following = [root, lost_and_found], lost_and_found.number + 1
        for directory in _directories(root):
            for node in (directory.children or {}).values():
                if not node.number:
                    node.number = following
                    following += 1
                    nodes.append(node)
        return nodes

    def _store_directories(self, root: Node) -> None:
        parents = {root.number: root.number}
        for directory in _directories(root):
            children = directory.children or {}
            rows = [Row(directory.number, 2, b"."), Row(parents.pop(directory.number), 2, b"..")]
            for name, node in children.items():
                rows.append(Row(node.number, FILE_TYPES[node.kind], name))
                if node.children is not None:
                    parents[node.number] = directory.number
            packed = pack_directory(rows)
            directory.size = len(packed)
            directory.extents = contiguous(self._space.store(packed))

    def _pack(self, node: Node) -> bytes:
        """Return the inode; what does not fit into it goes to blocks of its own."""
        behind, block = pack_xattrs(node.xattrs) if node.xattrs else (b"", b"")
        place = self._keep(block)[0][0] if block else 0
        blocks = 1 if block else 0
        if node.kind is _SYMLINK and node.size < FAST_SYMLINK:
            content, mapped = node.link.ljust(60, b"\0"), False
        elif node.kind in _UNMAPPED:
            content, mapped = pack_device(*node.rdev), False
        else:
            if node.kind is _SYMLINK:
                node.extents = contiguous(self._space.store(node.link))
            content, tree = pack_tree(node.extents, self._space)
            for _, start, length in node.extents:
                self._used.append((start, length))
                blocks += length
            if tree:
                self._used.extend(tree)
                blocks += sum(length for _, length in tree)
            mapped = True
        return pack_inode(node, _links(node), Placement(content, blocks, mapped, place, behind))

    def _keep(self, data: bytes) -> list[Run]:
        runs = self._space.store(data)
        self._used.extend(runs)
        return runs

    def _account(self, nodes: list[Node], last: int, stale: list[Run]) -> None:
        """Bring bitmaps, group descriptors and superblock up to what was written."""
        self._bitmaps.mark(stale, used=False)
        self._bitmaps.mark(self._used, used=True)
        self._bitmaps.write()
        first, per_group = self._superblock.first_inode, self._superblock.inodes_per_group
        directories = [0] * self._superblock.groups
        for node in nodes[2:]:
            directories[(node.number - 1) // per_group] += node.children is not None
        for group in range((last - 1) // per_group + 1):
            start = max(first, group * per_group)
            amount = min(last, (group + 1) * per_group) - start
            self._superblock.take_inodes(group, amount, directories[group])
            place = self._superblock.inode_bitmap(group) * BLOCK
            bits = bytearray(os.pread(self._disk, BLOCK, place))
            set_bits(bits, start - group * per_group, amount, on=True)
            os.pwrite(self._disk, bits, place)
        self._superblock.write(last)

    def _old(self, number: int) -> list[Run]:
        """Blocks of a directory that mke2fs made and this rewrites: one level of extents."""
        inode = self._table.read(number)
        _, entries = struct.unpack_from("<HH", inode, 40)
        found = (struct.unpack_from("<IHHI", inode, 52 + 12 * at) for at in range(entries))
        return [(start | high << 32, length) for _, length, high, start in found]


def _lost_and_found(root: Node) -> Node:
    """Return the directory that every ext4 has; the image's own, with all it holds, if any."""
    children = root.children
    assert children is not None
    node = children.get(LOST_AND_FOUND)
    if node is None:
        node = Node(EntryKind.DIRECTORY, 0o700, root.layer)
        node.links = 1
        node.mtime_ns = root.mtime_ns
        children[LOST_AND_FOUND] = node
    if node.children is None:
        raise HostileInput(
            "/lost+found in the image is not a directory",
            cause="e2fsck would delete it: ext4 needs a directory there",
        )
    return node


def _directories(root: Node) -> Iterator[Node]:
    """Yield all directories, depth first; a directory's children are looked at after it."""
    to_do = [root]
    while to_do:
        directory = to_do.pop()
        yield directory
        children = (directory.children or {}).values()
        to_do.extend(node for node in children if node.children is not None)


def _links(node: Node) -> int:
    if node.children is None:
        return node.links
    below = sum(1 for child in node.children.values() if child.children is not None)
    return 2 + below if below <= _MAX_SUBDIRECTORIES else 1


def _runs(extents: tuple[Extent, ...]) -> list[Run]:
    return [(extent.start, extent.blocks) for extent in extents]
