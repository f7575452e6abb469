"""An ext4 writer: ``mke2fs`` makes the empty file system, this fills it; and a reader of what
others wrote, which believes nothing.

Specification: the kernel's Documentation/filesystems/ext4 and e2fsprogs' ext2_fs.h.
"""

from __future__ import annotations

BLOCK = 4096
"""Bytes of a block; the only size that is written here."""


class Unreadable(Exception):
    """Why a file system of others is not read: damage, a feature that is not known, or too much."""
