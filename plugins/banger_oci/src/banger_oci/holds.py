"""What must stay in the cache while it is used, whichever process uses it."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from banger_core.api import FileLock, room_in

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60.0
"""Seconds to wait for somebody who changes the cache: nobody holds its lock for long."""


class Hold:
    """Keeps blobs from being removed, for as long as the block lasts, and counts as their use.

    There is one file for each hold, with the digests, locked by the holder: the lock ends with
    the holder, and the file without a lock means nothing. Waits until the cache is not being
    pruned: ``with`` blocks and raises Conflict when that takes too long, ``async with`` can be
    cancelled.
    """

    def __init__(self, root: Path, directory: Path, used: dict[str, Path]) -> None:
        self._lock = FileLock(root / "lock")
        self._path = directory / secrets.token_hex(8)
        self._used = used
        self._handle = -1

    def __enter__(self) -> Self:
        self._lock.acquire(PATIENCE)
        try:
            self._register()
        finally:
            self._lock.release()
        return self

    def __exit__(self, *_: object) -> None:
        # Gone before the lock on it is: whoever gets that lock finds a file without a name
        self._path.unlink(missing_ok=True)
        os.close(self._handle)

    async def __aenter__(self) -> Self:
        async with self._lock:
            self._register()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def _register(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with room_in(self._path.parent):
            self._handle = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _write(self._handle, "\n".join(self._used).encode())
            except BaseException:
                self.__exit__()
                raise
        for path in self._used.values():
            with suppress(FileNotFoundError):
                os.utime(path)


def held(directory: Path) -> set[str]:
    """Return the digests that somebody holds; what dead holders left is removed.

    Only under the lock of the cache.
    """
    digests: set[str] = set()
    for path in directory.iterdir():
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        with os.fdopen(handle, encoding="ascii", errors="replace") as file:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                digests.update(file.read().splitlines())
            else:
                path.unlink(missing_ok=True)
    return digests


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
