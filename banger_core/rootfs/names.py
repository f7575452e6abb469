"""Names and amounts in an image: what is refused before anything is remembered of it."""

from __future__ import annotations

from banger_core.errors import HostileInput
from banger_core.model import Entry, EntryKind

MAX_PATH = 4096
MAX_NAME = 255
MAX_DEPTH = 512
MAX_TARGET = 4095
MAX_FILE = (1 << 44) - 4096
"""Largest file in bytes, which is also ext4's limit with blocks of 4 KiB."""

NOBODY_AT_ALL = 2**32 - 1
"""The id that chown(2) takes for "leave it": no file can have it."""

DOTS = (b"", b".", b"..")

_FILE = EntryKind.FILE
_DIRECTORY = EntryKind.DIRECTORY


def split_path(path: bytes) -> list[bytes]:
    """Return the names of ``path`` from the root on, ``.`` and ``..`` worked out as text.

    Raises HostileInput for a path that leaves the root, or a name, path or depth beyond what a
    kernel would take.
    """
    if len(path) > MAX_PATH:
        raise HostileInput("a path in the image is too long", cause=shown(path))
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise HostileInput("a path in the image leaves its root", cause=shown(path))
    if len(parts) > MAX_DEPTH or any(len(part) > MAX_NAME for part in parts):
        raise HostileInput("a path in the image is too deep or a name too long", cause=shown(path))
    return parts


def shown(path: bytes) -> str:
    """Return a path for an error message: short, and with nothing a terminal would obey."""
    return repr(path[:80])[1:] + ("…" if len(path) > 80 else "")


class Limits:
    """Bounds on one image: names, and bytes of names, link targets and attributes in memory."""

    __slots__ = ("_bytes", "_max_bytes", "_max_names", "_names")

    def __init__(self, max_names: int = 2_000_000, max_bytes: int = 256 << 20) -> None:
        self._max_names, self._max_bytes = max_names, max_bytes
        self._names = self._bytes = 0

    def count(self, size: int) -> None:
        """Count a name of ``size`` bytes. Raises HostileInput when it is one too many."""
        self._names += 1
        self._bytes += size
        if self._names > self._max_names:
            raise HostileInput(
                "the image has too many files", cause=f"more than {self._max_names:,}"
            )
        if self._bytes > self._max_bytes:
            raise self._too_much()

    def discount(self, size: int) -> None:
        """Count a name that is gone."""
        self._names -= 1
        self._bytes -= size

    def check(self, entry: Entry) -> None:
        """Count what an entry brings. Raises HostileInput for values that no file can have."""
        if not (0 <= entry.uid < NOBODY_AT_ALL and 0 <= entry.gid < NOBODY_AT_ALL):
            raise HostileInput(
                "a file in the image has an impossible owner",
                cause=f"{shown(entry.path)}: {entry.uid}:{entry.gid}",
            )
        if entry.xattrs or entry.link:
            self._bytes += len(entry.link)
            self._bytes += sum(len(name) + len(value) for name, value in entry.xattrs.items())
            if self._bytes > self._max_bytes:
                raise self._too_much()
        if entry.kind is _FILE:
            if not 0 <= entry.size <= MAX_FILE:
                raise HostileInput(
                    "a file in the image has an impossible size",
                    cause=f"{shown(entry.path)}: {entry.size} bytes",
                )
        elif entry.kind is not _DIRECTORY:
            _check_special(entry)

    def _too_much(self) -> HostileInput:
        return HostileInput(
            "the image's names and attributes take too much memory",
            cause=f"more than {self._max_bytes >> 20} MiB",
        )


def _check_special(entry: Entry) -> None:
    major, minor = entry.rdev
    if entry.kind is EntryKind.SYMLINK and not 0 < len(entry.link) <= MAX_TARGET:
        raise HostileInput(
            "a symbolic link in the image has an impossible target",
            cause=f"{shown(entry.path)}: {len(entry.link)} bytes",
        )
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
        raise HostileInput(
            "a device in the image has an impossible number",
            cause=f"{shown(entry.path)}: {major}:{minor}",
        )
