"""The 512-byte header of tar: fields, numbers, checksum, the three dialects of its name."""

from __future__ import annotations

from banger_core.errors import HostileInput

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)


def parse_field(header: bytes, start: int, end: int) -> int:
    """Return a number field: octal digits, or GNU's base 256 (first bit set, two's complement).

    Raises HostileInput for anything else.
    """
    field = header[start:end]
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


def text_field(header: bytes, start: int, end: int) -> bytes:
    """Return a name field up to its first NUL."""
    return header[start:end].partition(b"\0")[0]


def check_header(header: bytes) -> None:
    """Raise HostileInput unless the checksum is right: as unsigned bytes, or signed as some old
    writers computed it.
    """
    wanted = parse_field(header, 148, 156)
    found = sum(header) - sum(header[148:156]) + 8 * 0x20
    if wanted == found:
        return
    high = sum(1 for byte in header[:148] + header[156:] if byte & 0x80)
    if wanted != found - 256 * high:
        raise HostileInput("the archive has a malformed header", cause="its checksum is wrong")


def name_of(header: bytes) -> bytes:
    """Return the entry's name as the header itself has it, joined with a ustar or star prefix."""
    name = text_field(header, 0, 100)
    if header[257:263] != b"ustar\0":
        return name
    prefix = text_field(header, 345, 476 if header[508:512] == b"tar\0" else 500)
    return prefix + b"/" + name if prefix else name
