"""Small programs for the guest that no program at hand replaces, as machine code.

    vsock PROGRAM [ARGUMENT…]
    grow DISK DIRECTORY
    pty PROGRAM [ARGUMENT…]
    follow FILE

``vsock`` listens at port 1022 of the guest's vsock (vsock(7)) and starts PROGRAM for every
connection from the host, one after the other, with the connection as its stdin and stdout. Others
than the host (CID 2), such as users of the guest itself, are turned away. It ends, with the error
number as its status, where there is no vsock.

``grow`` makes the mounted ext4 file system at DIRECTORY as large as DISK
(``EXT4_IOC_RESIZE_FS``, which does nothing when it is). Its status is the error number, 0 for none.

``pty`` gives PROGRAM, a path, a controlling terminal (pty(7)), of which file descriptor 3, an open
``/dev/ptmx``, is the other end. What comes at stdin is typed there, what is written there goes to
stdout, until the program has ended or has let go of it. Its status is the program's, or 128 and the
number of the signal that ended it.

``follow`` writes what its stdin, the plain file FILE, has from where it stands, and what is added
to it, to stdout, until that file may not be written any more (its mode says so) or nobody reads.
"""

from __future__ import annotations

from banger_core.guest.elf import machine_code, static_program

PROGRAMS = {name: f"banger/{name}" for name in ("vsock", "grow", "pty", "follow")}
"""Where each program lies in the initramfs."""


def small_program(name: str, machine: int) -> bytes:
    """Return one of ``PROGRAMS`` for a processor (ELF ``e_machine``). Raises IntegrityError for
    one that no guest has.
    """
    return static_program(machine, machine_code(name, machine))
