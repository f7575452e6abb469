"""LZ4's legacy frame, which the kernel's build uses (``lz4 -l``).

Follows lz4_Frame_format.md ("Legacy frame") and lz4_Block_format.md. The ``lz4`` package is used
when it is installed; the decoder here is for hosts without it, and is much slower.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

MAGIC = 0x184C2102
BLOCK_MAX = 8 << 20
"""A legacy block unpacks to at most this."""


class Damaged(ValueError):
    """The bytes are not LZ4."""


def unpack_legacy(data: bytes, limit: int) -> bytes | None:
    """Unpack a legacy frame; None when it would give more than ``limit`` bytes.

    Raises Damaged for bytes that are not LZ4. The frame has no end mark: it ends with the data,
    or where no further block can be (the kernel's build appends four bytes, the unpacked size).
    """
    unpack = _block_unpacker()
    unpacked = bytearray()
    at = 4
    while at + 4 <= len(data):
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        if size == MAGIC:
            continue
        if at + size > len(data) or not size:
            if at == len(data):
                break
            raise Damaged("a block is cut off")
        unpacked += unpack(data[at : at + size])
        if len(unpacked) > limit:
            return None
        at += size
    return bytes(unpacked)


def _block_unpacker() -> Callable[[bytes], bytes | bytearray]:
    try:
        from lz4 import block  # type: ignore[import-untyped]
    except ImportError:
        return unpack_block

    def unpack(packed: bytes) -> bytes:
        try:
            return bytes(block.decompress(packed, uncompressed_size=BLOCK_MAX))
        except block.LZ4BlockError as problem:
            raise Damaged(str(problem)) from problem

    return unpack


def unpack_block(packed: bytes) -> bytearray:
    """Unpack one block. Raises Damaged when it is none, or gives more than ``BLOCK_MAX`` bytes."""
    unpacked = bytearray()
    at, end = 0, len(packed)
    try:
        while at < end:
            token = packed[at]
            count, at = _length(packed, at + 1, token >> 4)
            if at + count > end:
                raise Damaged("literals are cut off")
            unpacked += packed[at : at + count]
            at += count
            if at < end:
                distance = packed[at] | packed[at + 1] << 8
                count, at = _length(packed, at + 2, token & 15)
                _repeat(unpacked, distance, count + 4)
            if len(unpacked) > BLOCK_MAX:
                raise Damaged("a block is too big")
    except IndexError:
        raise Damaged("a block is cut off") from None
    return unpacked


def _length(packed: bytes, at: int, length: int) -> tuple[int, int]:
    """Read the further bytes of a length whose four bits are all set; return it and its end."""
    if length == 15:
        while True:
            more = packed[at]
            at += 1
            length += more
            if more != 255:
                break
    return length, at


def _repeat(unpacked: bytearray, distance: int, count: int) -> None:
    start = len(unpacked) - distance
    if not distance or start < 0:
        raise Damaged("a match points before the beginning")
    if count > BLOCK_MAX:
        raise Damaged("a match is too long")
    if distance >= count:
        unpacked += unpacked[start : start + count]
    else:
        pattern = bytes(unpacked[start:])
        unpacked += (pattern * (count // distance + 1))[:count]
