"""Small programs for the guest that no program at hand replaces, as machine code.

    vsock PROGRAM [ARGUMENT…]
    grow DISK DIRECTORY
    keep tty|pipe PROGRAM [ARGUMENT…]
    show BYTES [FILE]

``vsock`` listens at port 1022 of the guest's vsock (vsock(7)) and starts PROGRAM for every
connection from the host, one after the other, with the connection as its stdin and stdout. Others
than the host (CID 2), such as users of the guest itself, are turned away. It ends, with the error
number as its status, where there is no vsock.

``grow`` makes the mounted ext4 file system at DIRECTORY as large as DISK
(``EXT4_IOC_RESIZE_FS``, which does nothing when it is). Its status is the error number, 0 for none.

``keep`` runs PROGRAM, a path, in a process session of its own, and keeps the end of what it
writes. Its stdin is a FIFO that is open both ways: what comes there goes to the program. With
``tty`` that has a controlling terminal (pty(7)), of which file 3, an open ``/dev/ptmx``, is the
other end. With ``pipe`` SIGUSR1 ends its input after what has come, and the FIFO has no reader any
more when the program does not read. File 4 is for the program. File 5 is the log, locked (flock(2))
as long as it may grow. To file 6 the program's status is written when it has ended: a line with its
exit status, or 128 and the number of the signal that ended it. What the program left behind is not
waited for. The status of ``keep`` is 125 when it cannot begin, else 0.

``show`` writes the last BYTES of its stdin, such a log, to stdout, and with FILE, another name of
that log, goes on until it does not grow any more or nobody reads. Who reads too slowly misses a
part.
"""

from __future__ import annotations

from banger_core.guest.elf import machine_code, static_program

PROGRAMS = {name: f"banger/{name}" for name in ("vsock", "grow", "keep", "show")}
"""Where each program lies in the initramfs."""


def small_program(name: str, machine: int) -> bytes:
    """Return one of ``PROGRAMS`` for a processor (ELF ``e_machine``). Raises IntegrityError for
    one that no guest has.
    """
    return static_program(machine, machine_code(name, machine))
