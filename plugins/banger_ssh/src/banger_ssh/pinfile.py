"""Banger's own known_hosts as a file that many may write at once."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from banger_core.api import HostNotReady, write_atomic

PINS = "known_hosts"
"""The file's name in banger's SSH directory."""


class PinFile:
    """``known_hosts`` in ``directory``: readers see the old or the new file, writers queue up."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / PINS
        self._lock = directory / f"{PINS}.lock"

    def read(self) -> bytes:
        """Return the content; a missing file is empty. Raises HostNotReady when it is not ours."""
        try:
            handle = _open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return b""
        with os.fdopen(handle, "rb") as file:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
                raise HostNotReady(
                    f"{self.path} cannot be used", cause="it is not a regular file of yours"
                )
            return file.read()

    def update(self, change: Callable[[bytes], bytes]) -> None:
        """Replace the content by what ``change`` makes of it; nothing comes in between.

        Blocks while somebody else writes. Raises HostNotReady when the file is not ours.
        """
        with self._locked():
            before = self.read()
            if (after := change(before)) != before:
                write_atomic(self.path, after)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = _open(self._lock, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Nobody writes now, so these are of writers that were killed
            for left in self.path.parent.glob(f".{PINS}.*.partial"):
                left.unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise HostNotReady(
            f"{path} cannot be used",
            cause="symbolic links are refused" if path.is_symlink() else str(problem.strerror),
            hints=[f"ls -l {path}"],
        ) from problem
