"""Small programs for the guest that no program at hand replaces, as machine code.

    vsock PROGRAM [ARGUMENT…]
    grow DISK DIRECTORY

``vsock`` listens at port 1022 of the guest's vsock (vsock(7)) and starts PROGRAM for every
connection from the host, one after the other, with the connection as its stdin and stdout. Others
than the host (CID 2), such as users of the guest itself, are turned away. It ends, with the error
number as its status, where there is no vsock.

``grow`` makes the mounted ext4 file system at DIRECTORY as large as DISK
(``EXT4_IOC_RESIZE_FS``, which does nothing when it is). Its status is the error number, 0 for none.
"""

from __future__ import annotations

from banger_core.guest.elf import machine_code, static_program

PROGRAMS = {"vsock": "banger/vsock", "grow": "banger/grow"}
"""Where each program lies in the initramfs."""


def small_program(name: str, machine: int) -> bytes:
    """Return one of ``PROGRAMS`` for a processor (ELF ``e_machine``). Raises IntegrityError for
    one that no guest has.
    """
    return static_program(machine, machine_code(name, machine))
