"""Layers in, a finished root file system out; one pass, nothing unpacked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from banger_core.contracts import Layer
from banger_core.errors import HostileInput, UsageProblem
from banger_core.model import Entry
from banger_core.rootfs.ext4 import BLOCK
from banger_core.rootfs.ext4.sizing import size_for
from banger_core.rootfs.ext4.tools import Identity, make_empty, minimum_size, seal
from banger_core.rootfs.ext4.writer import DoesNotFit, Ext4Writer, Written
from banger_core.rootfs.ext4.xattrs import pack_xattrs
from banger_core.rootfs.names import shown
from banger_core.rootfs.nodes import Node
from banger_core.rootfs.partial import publishing
from banger_core.rootfs.tree import Tree
from banger_core.rootfs.workseed import write_work_seed
from banger_core.sizes import format_size, size_argument

FLOOR = 64 << 20
"""Smallest root file system in bytes."""

DEFAULT_SIZE = 8 << 30
"""Virtual size in bytes where none is asked for; what is not used takes no room."""

_WORK = b" work"
_REPORT_BYTES = 4 << 20
_REPORT_ENTRIES = 512

Layers = Callable[[], AbstractContextManager[Iterable[Layer]]]
"""Opens the layers, lowest first; called again when the file system has to be larger."""

Content = Iterable[bytes | memoryview | int]

Progress = Callable[[str, int, int], None]
"""What is being done, how much is done, how much there is (0: unknown), in bytes."""


@dataclass(frozen=True, slots=True)
class RootfsFacts:
    """A finished root file system.

    ``size`` is its virtual size, ``content_size`` what files and directories take up in it,
    ``minimum_size`` the least it can be resized to; all in bytes. ``inodes`` are those in use.
    """

    size: int
    content_size: int
    minimum_size: int
    inodes: int


def build_rootfs(
    layers: Layers,
    out: Path,
    *,
    size: int | None = None,
    identity: bytes,
    work_seed: Path | None = None,
    progress: Progress | None = None,
) -> RootfsFacts:
    """Write the merged layers to ``out`` as an ext4 image that e2fsck finds clean.

    ``size`` is the virtual size in bytes; None takes 8 GiB, and more when that is too small.
    ``identity`` (a digest) gives the file system its UUID: the same layers, size and identity
    always give the same bytes. ``work_seed`` is where the seed of work disks goes, which holds what
    the image has in ``/root``; there is none when that is no directory. ``progress`` may raise to
    stop; whatever ends this early, nothing stays behind. Raises UsageProblem when ``size`` is too
    small, saying what is needed, HostileInput and IntegrityError for bad layers, HostNotReady and
    NoSpace.
    """
    told = progress or (lambda *_: None)
    names = Identity.derive(identity)
    with publishing(out) as temporary:
        taken, written, root = _write(temporary, layers, names, size, told)
        if work_seed is not None:
            write_work_seed(root, temporary, work_seed, Identity.derive(identity + _WORK))
        told("checking the file system", 0, 0)
        seal(temporary)
        least = least_disk(temporary, taken)
    return RootfsFacts(taken, written.blocks * BLOCK, least, written.inodes)


def least_disk(image: Path, size: int) -> int:
    """Return the least size in bytes of a disk for the file system in ``image``, which has
    ``size`` now: whole MiB, and never so small that nothing could be written.
    """
    return min(max(FLOOR, -(-minimum_size(image) >> 20) << 20), size)


def _write(
    image: Path, layers: Layers, names: Identity, size: int | None, progress: Progress
) -> tuple[int, Written, Node]:
    """Write the file system, larger until it fits; return its size, what it holds, its root."""
    taken, inodes = _checked_size(size), 0
    while True:
        os.truncate(image, 0)
        os.truncate(image, taken)
        make_empty(image, names, inodes)
        try:
            return taken, *_fill(image, layers, progress)
        except DoesNotFit as problem:
            needed, inodes = size_for(image, taken, problem)
            taken = _larger(size, taken, needed)


def _checked_size(size: int | None) -> int:
    if size is None:
        return DEFAULT_SIZE
    if size < FLOOR:
        raise UsageProblem(
            f"{format_size(size)} is too small for a root file system",
            cause=f"at least {format_size(FLOOR)} are needed",
            hints=[f"--disk-size {size_argument(FLOOR)}"],
        )
    return size // BLOCK * BLOCK


def _larger(asked: int | None, now: int, needed: int) -> int:
    """Return the size to try next. Raises UsageProblem when the user has said another one."""
    if asked is None:
        while now < needed:
            now *= 2
        return now
    if needed > now:
        raise UsageProblem(
            f"a disk of {format_size(asked)} is too small for this image",
            cause=f"the image needs {format_size(needed)}",
            hints=[f"--disk-size {size_argument(needed)}"],
        )
    return now


def _fill(image: Path, layers: Layers, progress: Progress) -> tuple[Written, Node]:
    disk = os.open(image, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writer = Ext4Writer(disk)
        tree = Tree(on_free=writer.free)
        report = _Report(progress)
        with layers() as opened:
            for layer in opened:
                tree.begin_layer()
                for entry in layer.entries():
                    _apply(entry, tree, writer, report)
        return writer.finish(tree.root), tree.root
    finally:
        os.close(disk)


def _apply(entry: Entry, tree: Tree, writer: Ext4Writer, report: _Report) -> None:
    if entry.xattrs:
        try:
            pack_xattrs(entry.xattrs)
        except HostileInput as problem:
            problem.cause = f"{shown(entry.path)}: {problem.cause}"
            raise
    node = tree.apply(entry)
    if node is None:
        report.count(0)
    elif node.size > _REPORT_BYTES:
        writer.write_file(node, report.watch(entry.data or ()))
    else:
        report.count(node.size)
        writer.write_file(node, entry.data or ())


class _Report:
    """Tells progress now and then; that is also where an operation can be stopped."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bytes = self._entries = 0
        self._next_bytes, self._next_entries = 0, _REPORT_ENTRIES

    def watch(self, data: Content) -> Content:
        """Pass ``data`` on, counting it."""
        for piece in data:
            self._bytes += piece if isinstance(piece, int) else len(piece)
            if self._bytes >= self._next_bytes:
                self._tell()
            yield piece

    def count(self, size: int) -> None:
        """Count one more entry, of ``size`` bytes."""
        self._entries += 1
        self._bytes += size
        if self._bytes >= self._next_bytes or self._entries >= self._next_entries:
            self._tell()

    def _tell(self) -> None:
        self._next_bytes = self._bytes + _REPORT_BYTES
        self._next_entries = self._entries + _REPORT_ENTRIES
        self._progress("writing the root file system", self._bytes, 0)
