"""A program for the guest that makes its kernel draw fresh random numbers at once.

``ioctl(open("/dev/urandom", O_RDWR), RNDRESEEDCRNG)`` (random(4)); exit status 0 when it worked.
Written as machine code: the guest has no compiler, and no program at hand knows this ioctl.
"""

from __future__ import annotations

import struct

from banger_core.guest.elf import X86_64, static_program

_BEFORE_PATH = (
    b"\xb8\x02\x00\x00\x00"  # mov eax, 2 (open)
    b"\x48\x8d\x3d"  # lea rdi, [rip + …]
)
_AFTER_PATH = (
    b"\xbe\x02\x00\x00\x00"  # mov esi, O_RDWR
    b"\x31\xd2\x0f\x05"  # xor edx, edx; syscall
    b"\x89\xc7"  # mov edi, eax
    b"\xbe\x07\x52\x00\x00"  # mov esi, RNDRESEEDCRNG
    b"\x31\xd2"  # xor edx, edx
    b"\xb8\x10\x00\x00\x00\x0f\x05"  # mov eax, 16 (ioctl); syscall
    b"\xf7\xd8\x89\xc7"  # neg eax; mov edi, eax
    b"\xb8\x3c\x00\x00\x00\x0f\x05"  # mov eax, 60 (exit); syscall
)


def reseed_program(elf_machine: int) -> bytes | None:
    """Return the static program for a processor (ELF ``e_machine``), None where there is none."""
    if elf_machine != X86_64:
        return None
    distance = struct.pack("<i", len(_AFTER_PATH))
    return static_program(X86_64, _BEFORE_PATH + distance + _AFTER_PATH + b"/dev/urandom\0")
