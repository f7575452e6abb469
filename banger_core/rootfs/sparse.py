"""Sparse files in tar archives: GNU's old format and the pax formats 0.0, 0.1 and 1.0.

Specification: GNU tar manual, "Storing Sparse Files". A map is a list of (offset, size) of the
parts that are stored; everything between them is holes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from banger_core.errors import HostileInput
from banger_core.rootfs.pax import Records, parse_decimal
from banger_core.rootfs.reader import ByteReader
from banger_core.rootfs.tarheader import BLOCK, parse_number

MAX_PARTS = 1 << 17
_LINE_MAX = 24

SparseMap = list[tuple[int, int]]


def read_old_map(header: bytes, reader: ByteReader) -> tuple[int, SparseMap]:
    """Return real size and map of an entry of type ``S``; more of the map follows its header."""
    parts = list(_slots(header, 386, 4))
    more = header[482]
    while more:
        block = reader.exactly(BLOCK)
        parts.extend(_slots(block, 0, 21))
        more = block[504]
        if len(parts) > MAX_PARTS:
            raise _bad_map("it has too many parts")
    return parse_number(header[483:495]), parts


def is_sparse(records: Records) -> bool:
    """Say whether a pax header describes a sparse file."""
    return b"GNU.sparse.major" in records or b"GNU.sparse.map" in records


def read_pax_map(records: Records, reader: ByteReader, stored: int) -> tuple[int, SparseMap]:
    """Return real size and map of a file whose records describe a sparse one.

    Format 1.0 keeps the map in the first of the ``stored`` bytes.
    """
    real = parse_decimal(records.get(b"GNU.sparse.realsize", records.get(b"GNU.sparse.size", b"")))
    if b"GNU.sparse.map" in records:
        text = records[b"GNU.sparse.map"]
        return real, _pairs([parse_decimal(number) for number in text.split(b",")] if text else [])
    return real, _read_leading_map(reader, stored)


def expand(
    reader: ByteReader, real: int, parts: SparseMap, stored: int
) -> Iterator[memoryview | int]:
    """Yield a sparse file's content: chunks, and ints for holes of that many bytes.

    Raises HostileInput when the parts overlap, leave the file or exceed what is stored.
    """
    _check(real, parts, stored)
    position = 0
    for offset, size in parts:
        if offset > position:
            yield offset - position
        yield from reader.pipe(size)
        position = offset + size
    if real > position:
        yield real - position


def _check(real: int, parts: SparseMap, stored: int) -> None:
    if any(size < 0 for _, size in parts):
        raise _bad_map("a part has a negative size")
    if sum(size for _, size in parts) > stored:
        raise _bad_map("it names more data than there is")
    edges = [(0, 0), *parts, (real, 0)]
    if any(offset + size > following for (offset, size), (following, _) in pairwise(edges)):
        raise _bad_map("its parts overlap or leave the file")


def _slots(block: bytes, start: int, count: int) -> Iterator[tuple[int, int]]:
    for at in range(start, start + count * 24, 24):
        if not block[at]:
            return
        yield parse_number(block[at : at + 12]), parse_number(block[at + 12 : at + 24])


def _read_leading_map(reader: ByteReader, stored: int) -> SparseMap:
    """Format 1.0: decimal lines in whole blocks before the data: how many parts, then each."""
    text = b""
    used = 0
    numbers: list[int] = []
    wanted = 1
    while len(numbers) < wanted:
        line, newline, rest = text.partition(b"\n")
        if not newline:
            if len(text) > _LINE_MAX or used + BLOCK > stored:
                raise _bad_map("it does not end")
            text += reader.exactly(BLOCK)
            used += BLOCK
            continue
        numbers.append(parse_decimal(line))
        wanted = 1 + 2 * numbers[0]
        if numbers[0] > MAX_PARTS:
            raise _bad_map("it has too many parts")
        text = rest
    return _pairs(numbers[1:])


def _pairs(numbers: list[int]) -> SparseMap:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_PARTS:
        raise _bad_map("it has an odd number of values, or too many")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _bad_map(why: str) -> HostileInput:
    return HostileInput("the archive has a malformed map of a sparse file", cause=why)
