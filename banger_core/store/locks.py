"""Locks between processes (flock(2)): gone with their holder, however it ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from banger_core.errors import Conflict

if TYPE_CHECKING:
    from pathlib import Path

_POLL = 0.05


class FileLock:
    """An exclusive lock on ``path``, which is created 0600 and never removed.

    Every object is a holder of its own, also within one process. The file names the holder's
    pid, for messages only. ``with lock:`` fails at once when another holds it, ``async with
    lock:`` waits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None

    def holder(self) -> int | None:
        """Return the pid that the file names: who holds the lock, or held it last."""
        try:
            text = self.path.read_text("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        return int(text) if text.isdecimal() else None

    def try_acquire(self) -> bool:
        """Take the lock when it is free; say whether this object holds it now."""
        if self.held:
            raise ValueError(f"{self.path} is locked by this very object")
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        if not _is_still(handle, self.path):
            os.close(handle)
            return self.try_acquire()
        try:
            os.ftruncate(handle, 0)
        except OSError:  # no file but a FIFO, say
            os.close(handle)
            raise
        with suppress(OSError):  # A full disk: the pid is for messages, the lock is the kernel's
            os.pwrite(handle, b"%d\n" % os.getpid(), 0)
        self._handle = handle
        return True

    def acquire(self, timeout: float = 0.0) -> None:
        """Take the lock within ``timeout`` seconds. Raises Conflict naming the holder."""
        deadline = time.monotonic() + timeout
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                raise Conflict(
                    f"{self.path} is locked",
                    cause=f"process {self.holder() or '?'} holds it",
                    hints=["run the command again when that has ended"],
                )
            time.sleep(_POLL)

    async def wait(self) -> None:
        """Take the lock as soon as it is free. Cancelling leaves nothing held."""
        while not self.try_acquire():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(_POLL)

    def release(self) -> None:
        """Let go. Idempotent."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        if not self.held:
            self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    async def __aenter__(self) -> Self:
        await self.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()


def _is_still(handle: int, path: Path) -> bool:
    """Say whether ``path`` still names the open file: a lock on a removed one guards nothing."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
