"""Console output of VMs: a bounded ring on disk.

What a guest writes is hostile: it may never grow a file without end.
"""

from __future__ import annotations

import asyncio
import errno
import os
import weakref
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class _Follower:
    """What one listener has not read yet; the oldest goes first when it is too slow."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self.chunks: deque[bytes] = deque()
        self.news = asyncio.Event()

    def push(self, data: bytes) -> None:
        self.chunks.append(data)
        self.size += len(data)
        while self.size > self.limit:
            self.size -= len(self.chunks.popleft())
        self.news.set()


class ConsoleRing:
    """The last ``limit / 2`` to ``limit`` bytes of a console, in ``path`` and ``path.old``.

    Both files are 0600 and survive restarts. Belongs to one event loop.
    """

    def __init__(self, path: Path, limit: int = 1 << 20) -> None:
        self._path, self._old = path, path.with_name(path.name + ".old")
        self._half = max(1, limit // 2)
        self._file: int | None = None
        self._used = 0
        self._closed = False
        self._followers: weakref.WeakSet[_Follower] = weakref.WeakSet()

    def append(self, data: bytes) -> None:
        """Add output, dropping the oldest. A full disk loses output but is no error: followers
        still get it, and the VM goes on. Raises ValueError after ``close``.
        """
        if self._closed:
            raise ValueError("the console is closed")
        if not data:
            return
        try:
            self._write(memoryview(data)[-2 * self._half :])
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        for follower in list(self._followers):
            follower.push(data)

    def read(self, tail: int | None = None) -> bytes:
        """Return what is kept, oldest first; at most the last ``tail`` bytes."""
        kept = b"".join(_content(path) for path in (self._old, self._path))
        return kept if tail is None else kept[max(0, len(kept) - tail) :]

    def follow(self) -> AsyncIterator[bytes]:
        """Iterate over what is appended after this call, until ``close``."""
        follower = _Follower(2 * self._half)
        self._followers.add(follower)
        return self._chunks(follower)

    def close(self) -> None:
        """End all followers and let go of the file. Idempotent."""
        self._closed = True
        if self._file is not None:
            os.close(self._file)
            self._file = None
        for follower in list(self._followers):
            follower.news.set()

    async def _chunks(self, follower: _Follower) -> AsyncIterator[bytes]:
        while True:
            while follower.chunks:
                chunk = follower.chunks.popleft()
                follower.size -= len(chunk)
                yield chunk
            if self._closed:
                return
            follower.news.clear()
            await follower.news.wait()

    def _write(self, data: memoryview) -> None:
        while data:
            if self._file is None:
                self._file = os.open(self._path, _FLAGS, 0o600)
                self._used = os.fstat(self._file).st_size
            if self._used >= self._half:
                os.close(self._file)
                self._file = None
                self._path.replace(self._old)
                continue
            written = os.write(self._file, data[: self._half - self._used])
            self._used += written
            data = data[written:]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
