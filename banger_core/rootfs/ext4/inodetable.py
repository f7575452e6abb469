"""Writing inodes to where their numbers say, many at a time."""

from __future__ import annotations

import os

from banger_core.rootfs.ext4 import BLOCK
from banger_core.rootfs.ext4.blocks import write_all
from banger_core.rootfs.ext4.inodes import SIZE
from banger_core.rootfs.ext4.superblock import Superblock

_BUFFER = 1 << 20


class InodeTable:
    """The inode tables of all groups as one; inodes are best put in order."""

    def __init__(self, disk: int, superblock: Superblock) -> None:
        self._disk, self._per_group = disk, superblock.inodes_per_group
        self._tables = [superblock.inode_table(group) * BLOCK for group in range(superblock.groups)]
        self._buffer = bytearray()
        self._offset = 0

    def put(self, number: int, inode: bytes) -> None:
        """Write an inode, now or with its neighbours."""
        place = self._place(number)
        if place != self._offset + len(self._buffer) or len(self._buffer) >= _BUFFER:
            self.flush()
            self._offset = place
        self._buffer += inode

    def read(self, number: int) -> bytes:
        """Return an inode as it is on the disk."""
        return os.pread(self._disk, SIZE, self._place(number))

    def flush(self) -> None:
        """Write what is in the buffer."""
        write_all(self._disk, self._buffer, self._offset)
        self._buffer = bytearray()

    def _place(self, number: int) -> int:
        group, index = divmod(number - 1, self._per_group)
        return self._tables[group] + index * SIZE
