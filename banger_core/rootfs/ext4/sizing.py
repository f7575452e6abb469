"""How large a file system has to be for what did not fit."""

from __future__ import annotations

import os
from pathlib import Path

from banger_core.rootfs.ext4 import BLOCK
from banger_core.rootfs.ext4.blocks import Bitmaps
from banger_core.rootfs.ext4.superblock import Superblock
from banger_core.rootfs.ext4.tools import Identity, make_empty
from banger_core.rootfs.ext4.writer import DoesNotFit

_STEP = 16 << 20
_INODE_RATIO = 16384


def size_for(image: Path, size: int, problem: DoesNotFit) -> tuple[int, int]:
    """Return the least size in bytes that holds it, and how many inodes to ask for (0: default).

    ``image`` is the file of ``size`` bytes that turned out too small; it is overwritten. mke2fs
    itself is asked, for journal and tables grow in steps with the size. More inodes than usual
    are given rather than more space, when inodes are all that is missing.
    """
    # Where runs of free blocks end differs with the size, and with it how extents are split
    blocks = problem.blocks + problem.blocks // 256 + 64
    while True:
        inodes = problem.inodes + problem.inodes // 8
        if inodes <= size // _INODE_RATIO:
            inodes = 0
        missing = blocks - _free_blocks(image, size, inodes)
        if missing <= 0:
            return size, inodes
        size = -(-(size + missing * BLOCK) // _STEP) * _STEP


def _free_blocks(image: Path, size: int, inodes: int) -> int:
    os.truncate(image, 0)
    os.truncate(image, size)
    make_empty(image, Identity.derive(b""), inodes)
    disk = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return sum(length for _, length in Bitmaps(disk, Superblock(disk)).free_runs())
    finally:
        os.close(disk)
