"""What an ELF program needs to run: its loader and its shared libraries (elf(5))."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from banger_core.api import IntegrityError

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_END, _NEEDED, _STRINGS = 0, 1, 5


@dataclass(frozen=True, slots=True)
class Needs:
    """The loader's file name (empty: none, the program is static) and the libraries' sonames."""

    loader: str
    libraries: tuple[str, ...]


def read_needs(program: bytes) -> Needs:
    """Read a 64-bit little-endian ELF file. Raises IntegrityError when it is none."""
    if program[:6] != b"\x7fELF\x02\x01":
        raise IntegrityError(
            "a program of the guest's packages is no 64-bit ELF file",
            cause=f"it begins with {program[:6].hex()}",
        )
    try:
        segments = _segments(program)
        loader = next(
            (_string(program, offset) for kind, offset, *_ in segments if kind == _INTERPRETER), ""
        )
        return Needs(loader.rpartition("/")[2], _libraries(program, segments))
    except (struct.error, ValueError, IndexError) as problem:
        raise IntegrityError(
            "a program of the guest's packages is damaged", cause=str(problem)
        ) from problem


_Segment = tuple[int, int, int, int]


def _segments(program: bytes) -> list[_Segment]:
    """Return (kind, offset, address, size in the file) of each program header."""
    (headers,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    found = []
    for index in range(count):
        kind, _, offset, address, _, length, _, _ = struct.unpack_from(
            "<IIQQQQQQ", program, headers + index * size
        )
        found.append((kind, offset, address, length))
    return found


def _libraries(program: bytes, segments: list[_Segment]) -> tuple[str, ...]:
    names: list[int] = []
    strings = 0
    for kind, offset, _, length in segments:
        if kind != _DYNAMIC:
            continue
        for at in range(offset, offset + length, 16):
            tag, value = struct.unpack_from("<QQ", program, at)
            if tag == _END:
                break
            if tag == _NEEDED:
                names.append(value)
            elif tag == _STRINGS:
                strings = _file_offset(value, segments)
    return tuple(_string(program, strings + name) for name in names)


def _file_offset(address: int, segments: list[_Segment]) -> int:
    for kind, offset, start, length in segments:
        if kind == _LOAD and start <= address < start + length:
            return address - start + offset
    raise ValueError("a table lies outside of the file")


def _string(program: bytes, at: int) -> str:
    return program[at : program.index(b"\0", at)].decode()
