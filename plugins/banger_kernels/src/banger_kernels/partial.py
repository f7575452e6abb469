"""A download on disk that goes on where an earlier one ended."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Self

from banger_core.api import IntegrityError, room_in, secure_dir, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 1 << 20
_FORGOTTEN = 7 * 24 * 3600


class Partial:
    """``directory/HEX.partial``: the first bytes of what shall have ``digest``; a context.

    It stays when the block is left, so that the next download is shorter. Raises IntegrityError
    and NoSpace.
    """

    def __init__(self, directory: Path, digest: str, size: int) -> None:
        self._directory = secure_dir(directory)
        self._path = directory / f"{digest.removeprefix('sha256:')}.partial"
        self._digest, self.size = digest, size
        self.done = 0

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with room_in(self._directory):
            self._handle = os.open(self._path, flags, 0o600)
        self._hash = hashlib.sha256()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def resume(self) -> None:
        """Take what is there already into account."""
        while chunk := os.read(self._handle, _CHUNK):
            self._hash.update(chunk)
            self.done += len(chunk)
        if self.done > self.size:
            self.restart()

    def restart(self) -> None:
        """Begin anew."""
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.done = 0

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; more than were announced are refused at once."""
        if self.done + len(chunk) > self.size:
            raise IntegrityError("it is longer than announced", cause=f"{self.size} bytes were")
        rest = memoryview(chunk)
        with room_in(self._directory):
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        self._hash.update(chunk)
        self.done += len(chunk)

    def finish(self, target: Path) -> None:
        """Verify the whole and put it at ``target``, durably."""
        found = f"sha256:{self._hash.hexdigest()}"
        if self.done != self.size or found != self._digest:
            raise IntegrityError(
                "it is not what was promised",
                cause=f"{self.done} bytes with {found}, promised were {self.size}"
                f" with {self._digest}",
            )
        with room_in(self._directory):
            os.fsync(self._handle)
            self._path.rename(target)
            sync_directory(target.parent)

    def discard(self) -> None:
        """Remove it: nothing of it is of use."""
        self._path.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Remove downloads that nobody went on with for a week."""
    for path in directory.glob("*.partial"):
        try:
            if time.time() - path.lstat().st_mtime > _FORGOTTEN:
                path.unlink()
        except FileNotFoundError:
            continue
