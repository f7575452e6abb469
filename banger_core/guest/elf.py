"""Programs for the guest that consist of nothing but a few hundred bytes of machine code."""

from __future__ import annotations

import struct

from banger_core.errors import IntegrityError

X86_64 = 62
AARCH64 = 183

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


def elf_machine(program: bytes) -> int:
    """Return the processor (``e_machine``) that ``program`` is for. Raises IntegrityError when
    it is no ELF file.
    """
    if program[:4] != b"\x7fELF" or len(program) < 20:
        raise IntegrityError("the guest runtime's busybox is no ELF program")
    machine: int = struct.unpack_from("<H", program, 18)[0]
    return machine
