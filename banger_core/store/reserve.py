"""Space that is set aside, so that a full disk never keeps banger from noting what it undid."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

SIZE = 256 << 10
"""Bytes that are set aside: some dozens of small transactions of SQLite."""

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Reserve:
    """The file ``path`` takes up space until that is needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = False

    def keep(self) -> None:
        """Set space aside, unless it is or there is none."""
        if self._kept:
            return
        with suppress(OSError):
            handle = os.open(self._path, _FLAGS, 0o600)
            try:
                os.posix_fallocate(handle, 0, SIZE)
                self._kept = True
            finally:
                os.close(handle)
                if not self._kept:
                    self._path.unlink()

    def give(self) -> bool:
        """Give the space back; say whether there was any."""
        given, self._kept = self._kept, False
        self._path.unlink(missing_ok=True)
        return given
