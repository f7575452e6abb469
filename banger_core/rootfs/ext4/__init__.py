"""An ext4 writer: ``mke2fs`` makes the empty file system, this fills it.

Specification: the kernel's Documentation/filesystems/ext4 and e2fsprogs' ext2_fs.h.
"""

from __future__ import annotations

BLOCK = 4096
"""Bytes of a block; the only size that is written here."""
