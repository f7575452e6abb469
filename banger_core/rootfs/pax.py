"""Extended headers of the POSIX.1-2001 ("pax") tar format: records of ``LENGTH KEY=VALUE``."""

from __future__ import annotations

import re

from banger_core.errors import HostileInput

XATTR = b"SCHILY.xattr."
"""Prefix of the records that hold extended attributes, their values unencoded."""

Records = dict[bytes, bytes]

_LENGTH = re.compile(rb"(\d{1,9}) ")
_NUMBER = re.compile(rb"\d{1,19}")
_TIME = re.compile(rb"(-?)(\d{1,18})(?:\.(\d*))?")
_SPARSE_PAIR = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")


def parse_records(data: bytes) -> Records:
    """Return the records of an extended header; the last one of a key counts.

    GNU sparse format 0.0 repeats two keys for every part of the file: those are joined with commas
    under ``GNU.sparse.map``, which is how format 0.1 writes them. Raises HostileInput.
    """
    records: Records = {}
    pairs: list[bytes] = []
    position = 0
    while position < len(data):
        if not (found := _LENGTH.match(data, position)):
            # Some writers pad the last block inside the announced length
            if data[position:].strip(b"\0"):
                raise _malformed("a record has no length")
            break
        end = position + int(found[1])
        if end > len(data) or end <= found.end() or data[end - 1] != 0x0A:
            raise _malformed("a record's length is wrong")
        key, separator, value = data[found.end() : end - 1].partition(b"=")
        if not separator or not key:
            raise _malformed("a record is not KEY=VALUE")
        if key in _SPARSE_PAIR:
            pairs.append(value)
        records[key] = value
        position = end
    if pairs:
        records[b"GNU.sparse.map"] = b",".join(pairs)
    return records


def parse_decimal(text: bytes) -> int:
    """Return a decimal number of a record. Raises HostileInput."""
    if not _NUMBER.fullmatch(text):
        raise _malformed(f"{text[:24]!r} is not a number")
    return int(text)


def parse_time(text: bytes) -> int:
    """Return a time in seconds, with any number of decimals, as nanoseconds since the epoch."""
    if not (found := _TIME.fullmatch(text)):
        raise _malformed(f"{text[:24]!r} is not a time")
    nanoseconds = int(found[2]) * 10**9 + int((found[3] or b"")[:9].ljust(9, b"0"))
    return -nanoseconds if found[1] else nanoseconds


def _malformed(why: str) -> HostileInput:
    return HostileInput("the archive has a malformed extended header", cause=why)
