"""Kernel modules, taken from a package to the host: only names that are chosen and checked."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from banger_core.api import EntryKind, HostileInput, secure_dir

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.api import Entry

_TREE_MAX = 4 << 30
_FILES_MAX = 50_000
_COMPONENT = re.compile(r"[A-Za-z0-9_+@,=-][A-Za-z0-9_.+@,=-]{0,127}")
_WANTED = re.compile(r"modules\.[a-z.]{1,40}|kernel/.*\.ko(\.(xz|gz|zst))?")


class ModuleTree:
    """The ``kernel/`` tree and the ``modules.*`` lists of one kernel release.

    ``written`` counts bytes. Takes regular files only: directories are made as files need them,
    links (``build``, ``source``) point to what is not there.
    """

    def __init__(self, root: Path, release: str) -> None:
        self._root = root
        self._prefixes = tuple(f"{place}lib/modules/{release}/".encode() for place in ("", "usr/"))
        self._directories: set[Path] = set()
        self._files = 0
        self.written = 0

    def take(self, entry: Entry) -> None:
        """Write a file of the tree; pass over everything else. Raises HostileInput."""
        prefix = next((one for one in self._prefixes if entry.path.startswith(one)), None)
        if prefix is None or entry.kind is not EntryKind.FILE or entry.data is None:
            return
        name = entry.path[len(prefix) :].decode("utf-8", "replace")
        if _WANTED.fullmatch(name):
            self._count(entry.size)
            self._write(self._place(name), entry)

    def _place(self, name: str) -> Path:
        parts = name.split("/")
        if not all(_COMPONENT.fullmatch(part) for part in parts):
            raise HostileInput("a kernel package has a strange file name", cause=repr(name[:200]))
        directory = self._root.joinpath(*parts[:-1])
        if directory not in self._directories:
            if any(parent.is_file() for parent in (directory, *directory.parents)):
                raise HostileInput("a kernel package has a file where a directory is", cause=name)
            self._directories.add(secure_dir(directory))
        return directory / parts[-1]

    def _count(self, size: int) -> None:
        self._files += 1
        self.written += size
        if self._files > _FILES_MAX or self.written > _TREE_MAX:
            raise HostileInput("a kernel package has too many modules, or too big ones")

    def _write(self, place: Path, entry: Entry) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(place, flags, 0o600)
        except FileExistsError as problem:
            raise HostileInput("a kernel package has a file twice", cause=place.name) from problem
        assert entry.data
        with os.fdopen(handle, "wb") as file:
            for chunk in entry.data:
                file.write(bytes(chunk))
