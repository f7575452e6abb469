"""Seeds of work disks: what an image has in ``/root``, as a file system of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from banger_core.errors import HostileInput, IntegrityError
from banger_core.model import EntryKind
from banger_core.rootfs.ext4 import BLOCK, Unreadable
from banger_core.rootfs.ext4.reader import DirectoryReader
from banger_core.rootfs.ext4.sizing import size_for
from banger_core.rootfs.ext4.tools import Identity, make_empty, seal
from banger_core.rootfs.ext4.writer import DoesNotFit, Ext4Writer
from banger_core.rootfs.nodes import Node
from banger_core.rootfs.partial import publishing

log = logging.getLogger(__name__)

HOME = b"root"
"""The directory, in the image's root and in that of the work disk."""

LABEL = "banger-work"

# Resized to what a VM asks for, with a journal that small disks have room for
_SIZE = 256 << 20
_READ = 4 << 20


def write_work_seed(root: Node, rootfs: Path, out: Path, names: Identity) -> None:
    """Write a seed to ``out``, when the image whose tree is ``root`` has a directory ``/root``.

    ``rootfs`` is the root file system that the tree was written to; contents come from there.
    Raises HostNotReady and NoSpace; ``out`` is there whole or not at all.
    """
    home = (root.children or {}).get(HOME)
    if home is not None and home.children is not None:
        _write(home, rootfs, BLOCK, out, names)


def extract_work_seed(rootfs: Path, out: Path, names: Identity) -> bool:
    """Write a seed to ``out`` of what the finished root file system ``rootfs``, whoever made it,
    has in ``/root``; False where that is no directory, or nothing that can be read for certain.

    The file must not change meanwhile. Raises HostNotReady and NoSpace; ``out`` is there whole or
    not at all.
    """
    try:
        with rootfs.open("rb") as file:
            reader = DirectoryReader(file.fileno())
            home = reader.read(HOME)
        if home is not None:
            _write(home, rootfs, reader.block, out, names)
    except (Unreadable, HostileInput, IntegrityError) as problem:
        log.debug("no seed of work disks out of %s: %s", rootfs, problem)
        return False
    return home is not None


def _write(home: Node, rootfs: Path, block: int, out: Path, names: Identity) -> None:
    with publishing(out) as temporary:
        size, inodes = _SIZE, 0
        while True:
            os.truncate(temporary, 0)
            os.truncate(temporary, size)
            make_empty(temporary, names, inodes, label=LABEL)
            try:
                _fill(temporary, home, rootfs, block)
                break
            except DoesNotFit as problem:
                needed, inodes = size_for(temporary, size, problem)
                size = max(size, needed)
        seal(temporary)


def _fill(seed: Path, home: Node, rootfs: Path, block: int) -> None:
    root = Node(EntryKind.DIRECTORY, 0o755, 0)
    root.links = 1
    root.mtime_ns = home.mtime_ns
    with rootfs.open("rb") as source, seed.open("r+b") as disk:
        writer = Ext4Writer(disk.fileno())
        root.children = {HOME: _copied(home, writer, source.fileno(), block)}
        writer.finish(root)


def _copied(home: Node, writer: Ext4Writer, rootfs: int, block: int) -> Node:
    """Return ``home`` with all that is below it; names of a file elsewhere do not count."""
    copies: dict[Node, Node] = {}
    top = _like(home)
    to_do = [(home.children or {}, top)]
    while to_do:
        children, new = to_do.pop()
        assert new.children is not None
        for name, child in children.items():
            copy = copies.get(child)
            if copy is None:
                copy = copies[child] = _like(child)
                if child.kind is EntryKind.FILE:
                    writer.write_file(copy, _content(child, rootfs, block))
                elif child.children is not None:
                    to_do.append((child.children, copy))
            copy.links += 1
            new.children[name] = copy
    top.links = 1
    return top


def _like(node: Node) -> Node:
    """Return a node that is like ``node`` but has no content, and no names yet."""
    new = Node(node.kind, node.mode, 0)
    new.uid, new.gid, new.mtime_ns = node.uid, node.gid, node.mtime_ns
    new.size, new.link, new.rdev, new.xattrs = node.size, node.link, node.rdev, node.xattrs
    return new


def _content(node: Node, rootfs: int, block: int) -> Iterator[bytes | int]:
    """Yield what a file holds, and how many bytes its holes have."""
    at = 0
    for logical, start, blocks in node.extents:
        if hole := logical * block - at:
            yield hole
        at = min((logical + blocks) * block, node.size)
        place, left = start * block, at - logical * block
        while left > 0:
            data = os.pread(rootfs, min(left, _READ), place)
            if not data:
                raise IntegrityError(
                    "the root file system became shorter while it was read",
                    cause="somebody else writes to it",
                    hints=["run the command again when nobody writes to it"],
                )
            yield data
            place, left = place + len(data), left - len(data)
    if node.size > at:
        yield node.size - at
