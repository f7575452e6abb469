"""The 512-byte header of tar: fields, numbers, checksum, the three dialects of its name."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from banger_core.errors import HostileInput

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)

_FIELDS = struct.Struct("<100s8s8s8s12s12s8sc100s6s66x8s8s155s12x")
_CHECKSUM = slice(148, 156)


class Header(NamedTuple):
    """The fields as they are; ``parse_number`` and ``text_of`` make sense of them."""

    name: bytes
    mode: bytes
    uid: bytes
    gid: bytes
    size: bytes
    mtime: bytes
    checksum: bytes
    flag: bytes
    link: bytes
    magic: bytes
    major: bytes
    minor: bytes
    prefix: bytes


def parse_header(block: bytes) -> Header:
    """Split a block into fields. Raises HostileInput unless its checksum is right: over unsigned
    bytes, or over signed ones as some old writers computed it.
    """
    header = Header._make(_FIELDS.unpack(block))
    wanted = parse_number(header.checksum)
    found = sum(block) - sum(header.checksum) + 8 * 0x20
    if wanted != found:
        rest = block[: _CHECKSUM.start] + block[_CHECKSUM.stop :]
        if wanted != found - 256 * sum(byte >> 7 for byte in rest):
            raise HostileInput("the archive has a malformed header", cause="its checksum is wrong")
    return header


@lru_cache(maxsize=1024)
def parse_number(field: bytes) -> int:
    """Return a number field: octal digits, or GNU's base 256 (first bit set, two's complement).

    Raises HostileInput for anything else. Owners and times repeat, hence the cache.
    """
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    # int() would take signs, underscores and blanks as well
    if text.strip(b"01234567"):
        raise HostileInput("the archive has a malformed header", cause=f"{text!r} is not octal")
    return int(text, 8)


def text_of(field: bytes) -> bytes:
    """Return a name field up to its first NUL."""
    return field.partition(b"\0")[0]


def name_of(header: Header, block: bytes) -> bytes:
    """Return the entry's name as the header itself has it, joined with a ustar or star prefix."""
    name = text_of(header.name)
    if header.magic != b"ustar\0" or not header.prefix[0]:
        return name
    star = block[508:512] == b"tar\0"
    return text_of(header.prefix[:131] if star else header.prefix) + b"/" + name
