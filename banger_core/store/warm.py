"""Saved machines that VMs can begin as: directories in the cache, sealed when they are complete.

What is found is whole and as it was sealed, or it is not found. Several daemons may share a cache:
one appears and goes in one step each, under its own name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from banger_core.config.paths import secure_dir
from banger_core.errors import IntegrityError
from banger_core.store.content import sync_directory, write_atomic

_SEAL = "seal.json"
_SEAL_MAX = 64 << 10
_READ_MAX = 1 << 20
"""Files up to this size are compared by what is in them, larger ones by their stamp."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}-[0-9a-f]{16,64}-[0-9a-f]{16,64}")
_LEFT_BEHIND = 3600.0
"""Whatever is unfinished for so many seconds is nobody's any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmItem:
    """One of them. ``size`` is what it takes on the disk (bytes), ``used_at`` in seconds since the
    epoch.
    """

    name: str
    path: Path
    size: int
    used_at: float


class WarmShelf:
    """All of them, in one directory. Everything here blocks."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def begin(self) -> Path:
        """Return where a new one may be made: a place that is not there yet."""
        return secure_dir(self._root) / f".making-{secrets.token_hex(6)}"

    def find(self, name: str) -> Path | None:
        """Return the directory of ``name``, and remember that it was used; None when there is
        none. Raises IntegrityError when it is not as it was sealed.
        """
        place = self._root / _checked(name)
        if not place.is_dir():
            return None
        _verify(place)
        os.utime(place / _SEAL)
        return place

    def publish(self, made: Path, name: str) -> None:
        """Seal ``made`` and let it be found as ``name``; one that is there already stays, and
        those which it supersedes go. Raises IntegrityError for what cannot be shared safely.
        """
        place = self._root / _checked(name)
        _seal(made)
        try:
            made.rename(place)
        except OSError:
            if not place.is_dir():
                raise
        sync_directory(self._root)
        like_it = name.rpartition("-")[0] + "-"
        for item in self.items():
            if item.name.startswith(like_it) and item.name != name:
                self.remove(item.name)

    def items(self) -> list[WarmItem]:
        """List them, last used first."""
        found = []
        for place in self._places(hidden=False):
            with suppress(FileNotFoundError):
                used = (place / _SEAL).stat().st_mtime
                found.append(
                    WarmItem(name=place.name, path=place, size=_taken(place), used_at=used)
                )
        return sorted(found, key=lambda item: item.used_at, reverse=True)

    def evict(self, keep: int) -> None:
        """Remove all but the ``keep`` that were used last, and what was left behind."""
        for item in self.items()[keep:]:
            self.remove(item.name)
        for place in self._places(hidden=True):
            with suppress(FileNotFoundError):
                if time.time() - place.stat().st_mtime > _LEFT_BEHIND:
                    shutil.rmtree(place)

    def remove(self, name: str) -> None:
        """Remove one. VMs that began as it go on: what they mapped stays theirs."""
        going = self._root / f".gone-{secrets.token_hex(6)}"
        with suppress(FileNotFoundError):
            (self._root / _checked(name)).rename(going)
            shutil.rmtree(going)

    def clear(self) -> list[WarmItem]:
        """Remove all of them, finished or not; return those that were finished."""
        items = self.items()
        for item in items:
            self.remove(item.name)
        for place in (*self._places(hidden=False), *self._places(hidden=True)):
            shutil.rmtree(place, ignore_errors=True)
        return items

    def _places(self, *, hidden: bool) -> list[Path]:
        if not self._root.is_dir():
            return []
        return [
            place
            for place in sorted(self._root.iterdir())
            if place.is_dir() and place.name.startswith(".") == hidden
        ]


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise IntegrityError("malformed name of a saved machine", cause=repr(name[:100]))
    return name


def _seal(made: Path) -> None:
    """Note what is in ``made``, once it is on the disk: after a crash of the host there may be
    nothing where a file's size promises something.
    """
    files = {}
    for path in sorted(made.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.name] = _facts(path)
    write_atomic(made / _SEAL, json.dumps({"files": files}))


def _verify(place: Path) -> None:
    try:
        with (place / _SEAL).open("rb") as file:
            said = json.loads(file.read(_SEAL_MAX))["files"]
        there = {path.name: _facts(path) for path in place.iterdir() if path.name != _SEAL}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise IntegrityError(
            f"the saved machine {place} cannot be used", cause=str(problem)
        ) from problem
    if said != there:
        raise IntegrityError(
            f"the saved machine {place} cannot be used", cause="it is not as it was sealed"
        )


def _facts(path: Path) -> list[Any]:
    """What tells whether a file is the one that it was. Raises IntegrityError for one that
    somebody else could change.
    """
    state = path.lstat()
    closed = stat.S_ISREG(state.st_mode) and not state.st_mode & 0o077
    if not closed or state.st_uid != os.geteuid():
        raise IntegrityError(f"{path} is no private file of this user")
    if state.st_size <= _READ_MAX:
        return [state.st_size, hashlib.sha256(path.read_bytes()).hexdigest()]
    return [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]


def _taken(place: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in place.iterdir())
