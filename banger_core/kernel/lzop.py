"""LZO in lzop's container, which the kernel's build uses (``lzop -9``).

Follows lib/decompress_unlzo.c of Linux and lzop's own format. The blocks are unpacked by the
``lzallright`` package.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAGIC = b"\x89LZO\0\r\n\x1a\n"
BLOCK_MAX = 256 << 10
"""A block unpacks to at most this, or the kernel could not unpack itself either."""

_WITH_LEVEL = 0x0940
_FILTERED, _EXTRA_FIELD = 0x800, 0x40
_ADLER_UNPACKED, _ADLER_PACKED, _CRC_UNPACKED, _CRC_PACKED = 0x1, 0x2, 0x100, 0x200


class Damaged(ValueError):
    """The bytes are not LZO in lzop's container."""


class NoLibrary(Exception):
    """The package that unpacks LZO is not installed."""


@dataclass(frozen=True, slots=True)
class _Block:
    """One block: ``size`` unpacked, and the Adler-32 of that when the file has it."""

    packed: bytes
    size: int
    adler: int | None


def unpack_lzop(data: bytes, limit: int) -> bytes | None:
    """Unpack a file of lzop; None when it would give more than ``limit`` bytes.

    Raises Damaged and NoLibrary. What follows the end mark is ignored.
    """
    unpack = _block_unpacker()
    unpacked = bytearray()
    try:
        for block in _blocks(data):
            if len(unpacked) + block.size > limit:
                return None
            # What does not get smaller is stored as it is
            stored = len(block.packed) == block.size
            piece = block.packed if stored else unpack(block.packed, block.size)
            if len(piece) != block.size or block.adler not in (None, zlib.adler32(piece)):
                raise Damaged("a block does not match its checksum")
            unpacked += piece
    except struct.error:
        raise Damaged("it ends in the middle") from None
    return bytes(unpacked)


def _block_unpacker() -> Callable[[bytes, int], bytes]:
    try:
        from lzallright import InputNotConsumed, LZOCompressor, LZOError
    except ImportError:
        raise NoLibrary from None

    def unpack(packed: bytes, size: int) -> bytes:
        try:
            return LZOCompressor.decompress(packed, size)
        except (LZOError, InputNotConsumed) as problem:
            raise Damaged(str(problem)) from problem

    return unpack


def _blocks(data: bytes) -> Iterator[_Block]:
    flags, at = _header(data)
    while size := _number(data, at):
        length = _number(data, at + 4)
        at += 8
        if size > BLOCK_MAX or not 0 < length <= size:
            raise Damaged("a block has an impossible size")
        adler = _number(data, at) if flags & _ADLER_UNPACKED else None
        at += 4 * sum(bool(flags & kind) for kind in (_ADLER_UNPACKED, _CRC_UNPACKED))
        if length < size:
            at += 4 * sum(bool(flags & kind) for kind in (_ADLER_PACKED, _CRC_PACKED))
        if at + length > len(data):
            raise Damaged("it ends in the middle")
        yield _Block(data[at : at + length], size, adler)
        at += length


def _header(data: bytes) -> tuple[int, int]:
    """Return the flags, and where the first block begins."""
    at = len(MAGIC)
    (version,) = struct.unpack_from(">H", data, at)
    modern = version >= _WITH_LEVEL
    # Versions (6 bytes in new files, 4 in old ones), method and level
    at += 8 if modern else 5
    flags = _number(data, at)
    at += 8 if flags & _FILTERED else 4
    # Mode and time of change
    at += 12 if modern else 8
    # The name, and the header's checksum
    (length,) = struct.unpack_from("B", data, at)
    at += 1 + length + 4
    if flags & _EXTRA_FIELD:
        at += 4 + _number(data, at) + 4
    return flags, at


def _number(data: bytes, at: int) -> int:
    (number,) = struct.unpack_from(">I", data, at)
    return int(number)
