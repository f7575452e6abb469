"""A program for the guest that becomes another user and then another program, and nothing else.

    become UID GID [GROUP…] -- [NAME=VALUE…] -- PROGRAM [ARGUMENT…]

``setgroups(2)``, ``setresgid(2)`` and ``setresuid(2)``, so that there is no way back, then
``execve(2)`` with precisely that environment. Stdin, stdout and stderr are given to the user
before: programs open ``/dev/stdout`` and their terminal by name. PROGRAM is a path and
is not searched for; what it is called is its path.

Machine code, because busybox sets no supplementary groups, util-linux wants libraries, and no
shell could be trusted to keep an image's environment out of what root does. What cannot be done
is said on stderr: exit status 127 for a program that is not there, else 126.
"""

from __future__ import annotations

from banger_core.guest.elf import machine_code, static_program

_MISUSE, _REFUSED, _ANYTHING = 253, 254, 255

_PROBLEMS = (
    (2, 127, "what this program needs to run is not there"),
    (7, 126, "the arguments and the environment are too long"),
    (8, 126, "neither a program for this machine nor a script that begins with #!"),
    (13, 126, "permission denied: this user may not run this program"),
    (_MISUSE, 126, "not a user to become"),
    (_REFUSED, 126, "the system does not let this session become another user"),
    (_ANYTHING, 126, "the program cannot be started"),
)
"""Error number of ``execve`` or one of the above, exit status, and what is said."""


def become_program(machine: int) -> bytes:
    """Return the static program for a processor (ELF ``e_machine``). Raises IntegrityError for
    one that no guest has.
    """
    return static_program(machine, machine_code("become", machine) + _table())


def _table() -> bytes:
    rows = b""
    for key, status, problem in _PROBLEMS:
        text = f"banger: {problem}\n".encode()
        rows += bytes((key, status, len(text))) + text
    return rows
