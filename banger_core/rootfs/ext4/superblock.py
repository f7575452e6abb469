"""Superblock and group descriptors of an empty ext4 as mke2fs left it."""

from __future__ import annotations

import os
import struct

from banger_core.errors import BangerError
from banger_core.rootfs.ext4 import BLOCK

_MAGIC = 0xEF53
_INCOMPAT_FILETYPE_EXTENTS = 0x42
_INCOMPAT_64BIT = 0x80
_RO_COMPAT_GROUP_CHECKSUMS = 0x10
_RO_COMPAT_CHECKSUMS = 0x410
_INODES_ZEROED = 0x4

# Group descriptor fields: offset of the low half, of the high half, format of each half
_BLOCK_BITMAP = (0x00, 0x20, "<I")
_INODE_BITMAP = (0x04, 0x24, "<I")
_INODE_TABLE = (0x08, 0x28, "<I")
_FREE_BLOCKS = (0x0C, 0x2C, "<H")
_FREE_INODES = (0x0E, 0x2E, "<H")
_USED_DIRS = (0x10, 0x30, "<H")
_UNUSED_INODES = (0x1C, 0x32, "<H")
_FLAGS = 0x12
_CHECKSUM = 0x1E


def _crc16_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC16 = [_crc16_of(byte) for byte in range(256)]


def _crc16(data: bytes | bytearray, found: int = 0xFFFF) -> int:
    for byte in data:
        found = found >> 8 ^ _CRC16[(found ^ byte) & 0xFF]
    return found


class Superblock:
    """Geometry and counts. Nothing is written before ``write``."""

    def __init__(self, disk: int) -> None:
        self._disk = disk
        self._raw = bytearray(os.pread(disk, 1024, 1024))
        self._check()
        wide = bool(self._u32(0x60) & _INCOMPAT_64BIT)
        self.inodes = self._u32(0x00)
        self.blocks = self._u32(0x04) | (self._u32(0x150) << 32 if wide else 0)
        self.blocks_per_group = self._u32(0x20)
        self.inodes_per_group = self._u32(0x28)
        self.first_inode = self._u32(0x54)
        self.free_blocks = self._u32(0x0C) | (self._u32(0x158) << 32 if wide else 0)
        self.free_inodes = self._u32(0x10)
        self.groups = -(-self.blocks // self.blocks_per_group)
        self._stride = struct.unpack_from("<H", self._raw, 0xFE)[0] if wide else 32
        self._table = bytearray(os.pread(disk, self.groups * self._stride, BLOCK))

    def _u32(self, offset: int) -> int:
        value: int = struct.unpack_from("<I", self._raw, offset)[0]
        return value

    def _check(self) -> None:
        fits = (
            struct.unpack_from("<H", self._raw, 0x38)[0] == _MAGIC
            and self._u32(0x18) == 2
            and struct.unpack_from("<H", self._raw, 0x58)[0] == 256
            and self._u32(0x60) & _INCOMPAT_FILETYPE_EXTENTS == _INCOMPAT_FILETYPE_EXTENTS
            and not self._u32(0x64) & _RO_COMPAT_CHECKSUMS
        )
        if not fits:
            raise BangerError(
                "mke2fs made a file system of another shape than asked for",
                cause="this is not the mke2fs of e2fsprogs that it is made for",
                hints=["type -a mke2fs"],
            )

    def block_bitmap(self, group: int) -> int:
        """Block that holds the group's block bitmap."""
        return self._get(group, _BLOCK_BITMAP)

    def inode_bitmap(self, group: int) -> int:
        """Block that holds the group's inode bitmap."""
        return self._get(group, _INODE_BITMAP)

    def inode_table(self, group: int) -> int:
        """First block of the group's inodes."""
        return self._get(group, _INODE_TABLE)

    def take_blocks(self, group: int, amount: int) -> None:
        """Count ``amount`` blocks of the group as used (negative: as free)."""
        self._add(group, _FREE_BLOCKS, -amount)
        self.free_blocks -= amount

    def take_inodes(self, group: int, amount: int, directories: int) -> None:
        """Count inodes of the group as used, ``directories`` more of them being directories."""
        self._add(group, _FREE_INODES, -amount)
        self._add(group, _USED_DIRS, directories)
        self.free_inodes -= amount

    def write(self, last_inode: int) -> None:
        """Write descriptors and superblock; tune2fs refreshes their copies.

        Inodes behind ``last_inode`` were never used. That is noted (feature ``uninit_bg``), so
        that whoever checks the file system or adds checksums need not read them.
        """
        per_group = self.inodes_per_group
        for group in range(self.groups):
            unused = min(max((group + 1) * per_group - last_inode, 0), per_group)
            self._add(group, _UNUSED_INODES, unused)
            struct.pack_into("<H", self._table, group * self._stride + _FLAGS, _INODES_ZEROED)
            self._add_checksum(group)
        struct.pack_into("<I", self._raw, 0x64, self._u32(0x64) | _RO_COMPAT_GROUP_CHECKSUMS)
        struct.pack_into("<I", self._raw, 0x0C, self.free_blocks & 0xFFFFFFFF)
        if self._u32(0x60) & _INCOMPAT_64BIT:
            struct.pack_into("<I", self._raw, 0x158, self.free_blocks >> 32)
        struct.pack_into("<I", self._raw, 0x10, self.free_inodes)
        os.pwrite(self._disk, self._table, BLOCK)
        os.pwrite(self._disk, self._raw, 1024)

    def _add_checksum(self, group: int) -> None:
        base = group * self._stride
        described = self._table[base : base + self._stride]
        found = _crc16(self._raw[0x68:0x78] + struct.pack("<I", group) + described[:_CHECKSUM])
        found = _crc16(described[_CHECKSUM + 2 :], found)
        struct.pack_into("<H", self._table, base + _CHECKSUM, found)

    def _get(self, group: int, field: tuple[int, int, str]) -> int:
        low, high, form = field
        base = group * self._stride
        value: int = struct.unpack_from(form, self._table, base + low)[0]
        if self._stride >= 64:
            value |= struct.unpack_from(form, self._table, base + high)[0] << (
                8 * struct.calcsize(form)
            )
        return value

    def _add(self, group: int, field: tuple[int, int, str], amount: int) -> None:
        low, high, form = field
        base = group * self._stride
        value = self._get(group, field) + amount
        bits = 8 * struct.calcsize(form)
        struct.pack_into(form, self._table, base + low, value & ((1 << bits) - 1))
        if self._stride >= 64:
            struct.pack_into(form, self._table, base + high, value >> bits)
