"""A small file system for tests of a full disk, in a mount namespace that nobody else sees."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEWNS = 0x00020000
_REC, _PRIVATE = 0x4000, 1 << 18
_PIECE = 1 << 20


class SmallDisk:
    """A tmpfs, and a file in it that takes what is to be taken."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    @property
    def free(self) -> int:
        """Bytes that are free."""
        facts = os.statvfs(self.place)
        return facts.f_bavail * facts.f_frsize

    @property
    def grain(self) -> int:
        """Bytes in which space is given away."""
        return os.statvfs(self.place).f_frsize

    def leave(self, count: int) -> None:
        """Have ``count`` bytes free, in whole grains. Raises ValueError when there are less."""
        self.relieve()
        surplus = (self.free - count) // self.grain * self.grain
        if surplus < 0:
            raise ValueError(f"{self.free} bytes are free, not {count}")
        if surplus:
            with self._ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, surplus)

    def relieve(self) -> None:
        """Give back what ``leave`` took."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[SmallDisk]:
    """Mount ``size`` bytes at the directory ``place``, for this thread and the programs that it
    starts, as long as the block lasts. Root only: raises OSError for others.
    """
    here = Path.cwd()
    with Path("/proc/thread-self/ns/mnt").open() as outside:
        _call("unshare", _NEWNS)
        try:
            _call("mount", b"none", b"/", None, _REC | _PRIVATE, None)
            options = f"size={size},mode=0700".encode()
            _call("mount", b"small", os.fsencode(place), b"tmpfs", 0, options)
            os.chdir(here)
            yield SmallDisk(place)
        finally:
            # The namespace ends with the last one in it, and the mount with the namespace
            _call("setns", outside.fileno(), _NEWNS)
            os.chdir(here)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
