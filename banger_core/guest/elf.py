"""Programs for the guest that consist of nothing but a few hundred bytes of machine code."""

from __future__ import annotations

import struct
from importlib.resources import files as package_files

from banger_core.errors import IntegrityError

X86_64 = 62
AARCH64 = 183

NAMES = {X86_64: "x86_64", AARCH64: "aarch64"}
"""What the files of machine code for a processor (``e_machine``) end with."""

_COLUMNS = 22
_BASE = 0x400000
_HEADERS = 64 + 56


def static_program(machine: int, code: bytes) -> bytes:
    """Return an ELF-64 executable that begins at the first byte of ``code``, which must not care
    where it lies and finds all its memory on the stack. ``machine`` is ELF's ``e_machine``.
    """
    size = _HEADERS + len(code)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096)
    return identity + header + segment + code


def machine_code(name: str, machine: int) -> bytes:
    """Return the machine code of the program ``name`` for a processor (ELF ``e_machine``), from
    ``files/``: hexadecimal in the first columns of a line, then the instruction. Raises
    IntegrityError for a processor that no guest has.
    """
    if machine not in NAMES:
        raise IntegrityError(f"there is no guest runtime for processors of ELF type {machine}")
    file = package_files("banger_core.guest") / "files" / f"{name}.{NAMES[machine]}"
    lines = (line for line in file.read_text("utf-8").splitlines() if not line.startswith("#"))
    return b"".join(bytes.fromhex(line[:_COLUMNS]) for line in lines)


def elf_machine(program: bytes) -> int:
    """Return the processor (``e_machine``) that ``program`` is for. Raises IntegrityError when
    it is no ELF file.
    """
    if program[:4] != b"\x7fELF" or len(program) < 20:
        raise IntegrityError("the guest runtime's busybox is no ELF program")
    machine: int = struct.unpack_from("<H", program, 18)[0]
    return machine
