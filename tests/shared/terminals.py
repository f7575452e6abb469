"""Pseudo-terminals of the tests' own: somebody sits at the other end, or only looks on."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

PATIENCE = 100
"""Seconds in which somebody says something."""


def read_until(file: int, wanted: bytes) -> bytes:
    """Return what comes out of ``file`` up to ``wanted``, and what came with the end of that."""
    text = b""
    while wanted not in text:
        piece = _read(file)
        assert piece, text
        text += piece
    return text


def read_all(file: int) -> bytes:
    """Return what comes out of ``file`` until nobody has its other end any more."""
    return b"".join(iter(lambda: _read(file), b""))


def _read(file: int) -> bytes:
    assert select.select([file], [], [], PATIENCE)[0], "nothing comes"
    try:
        return os.read(file, 4096)
    except OSError:
        # As terminals end
        return b""


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Our end and the program's end of a terminal; who is done with the latter closes it."""
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)


class Person:
    """Somebody at a terminal of their own, with ``rows`` rows, who runs a program."""

    def __init__(
        self, argv: Sequence[str], rows: int, env: Mapping[str, str] | None = None
    ) -> None:
        self._terminal, theirs = pty.openpty()
        self.resize(rows)
        # setsid(1) makes the terminal theirs, so that they hear of its size
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *argv],
            env=env, stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._terminal, keys)

    def resize(self, rows: int) -> None:
        """Make the window another size."""
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, 90, 0, 0))

    def see(self, wanted: bytes) -> bytes:
        """Wait until something is shown, and return what is by then."""
        return read_until(self._terminal, wanted)

    def end(self) -> int:
        """Wait for the end of the program, and return its status."""
        status = self.process.wait(timeout=PATIENCE)
        os.close(self._terminal)
        return status

    def hang_up(self) -> int:
        """Take the terminal away from the program, and return the status it then ends with."""
        os.close(self._terminal)
        return self.process.wait(timeout=PATIENCE)
