"""SFTP version 3 as bytes (draft-ietf-secsh-filexfer-02), and nothing that waits.

The other side is a guest: whatever it says is taken apart within its bounds, or refused.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from banger_core.errors import BangerError, HostileInput

INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT = range(1, 11)
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = range(11, 21)
STATUS, HANDLE, DATA, NAME, ATTRS = range(101, 106)
EXTENDED, EXTENDED_REPLY = 200, 201

OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE = range(5)
UNSUPPORTED = 8

FOR_READ, FOR_WRITE, APPEND, CREATE, TRUNCATE, EXCLUSIVE = (1 << bit for bit in range(6))

FRAME_MAX = 256 * 1024 + 64
"""Longest reply that is taken (bytes, without its length)."""

NAMES_MAX = 4096
"""Most names in one reply (OpenSSH's server sends a hundred)."""

HANDLE_MAX = 256
"""Longest handle (bytes, section 6.3)."""

_SIZE, _OWNERS, _MODE, _TIMES, _MORE = 1, 2, 4, 8, 0x80000000

_REASONS = {
    EOF: "it ended early",
    NO_SUCH_FILE: "no such file or directory",
    PERMISSION_DENIED: "permission denied",
    UNSUPPORTED: "the machine's server cannot do that",
}


class Refused(BangerError):
    """The server refused one request; ``status`` is its number (section 7)."""

    def __init__(self, status: int, said: str = "") -> None:
        self.status = status
        super().__init__(_REASONS.get(status) or f"the machine said {said[:80]!r}")


class Attributes(NamedTuple):
    """What is known of a file; None where the server did not say. ``mtime`` in seconds."""

    size: int | None = None
    mode: int | None = None
    mtime: int | None = None
    atime: int | None = None

    def pack(self) -> bytes:
        """Return the bytes that ask for these values; those that are None stay as they are."""
        flags, rest = 0, b""
        if self.size is not None:
            flags, rest = flags | _SIZE, rest + struct.pack(">Q", self.size)
        if self.mode is not None:
            flags, rest = flags | _MODE, rest + struct.pack(">I", self.mode)
        if self.mtime is not None:
            mtime = min(max(self.mtime, 0), 0xFFFFFFFF)
            atime = mtime if self.atime is None else min(max(self.atime, 0), 0xFFFFFFFF)
            flags, rest = flags | _TIMES, rest + struct.pack(">II", atime, mtime)
        return struct.pack(">I", flags) + rest


class Fields:
    """Takes a reply apart. Raises HostileInput when it is shorter than it says."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def _take(self, count: int) -> bytes:
        end = self._place + count
        if end > len(self._data):
            raise HostileInput(
                "the machine sent a reply that is cut off", cause="it breaks the rules of SFTP"
            )
        taken = self._data[self._place : end]
        self._place = end
        return taken

    def u32(self) -> int:
        """Take a number of four bytes."""
        return int.from_bytes(self._take(4))

    def u64(self) -> int:
        """Take a number of eight bytes."""
        return int.from_bytes(self._take(8))

    def string(self) -> bytes:
        """Take a string."""
        return self._take(self.u32())

    def more(self) -> bool:
        """Say whether anything is left."""
        return self._place < len(self._data)

    def attributes(self) -> Attributes:
        """Take the attributes of a file (section 5)."""
        flags = self.u32()
        size = self.u64() if flags & _SIZE else None
        if flags & _OWNERS:
            self.u64()
        mode = self.u32() if flags & _MODE else None
        atime, mtime = (self.u32(), self.u32()) if flags & _TIMES else (None, None)
        for _ in range(self.u32() if flags & _MORE else 0):
            self.string()
            self.string()
        return Attributes(size, mode, mtime, atime)

    def names(self) -> list[tuple[bytes, Attributes]]:
        """Take the names of a directory with their attributes (section 7)."""
        count = self.u32()
        if not 0 < count <= NAMES_MAX:
            raise HostileInput(f"the machine sent {count} names in one reply")
        found = []
        for _ in range(count):
            name = self.string()
            self.string()
            found.append((name, self.attributes()))
        return found


def string(value: bytes) -> bytes:
    """Return ``value`` with its length before it."""
    return len(value).to_bytes(4) + value


def check_name(name: bytes) -> bytes:
    """Return ``name``, which must be one component of a path. Raises HostileInput."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name or len(name) > 255:
        raise HostileInput(
            f"the machine named a file {name[:80]!r}",
            cause="no file can have this name; it may try to write elsewhere",
        )
    return name
