"""Write a cpio archive in the "newc" form, which the kernel unpacks as its initramfs.

Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat

_ALIGN = 4
_BLOCK = 512


class CpioWriter:
    """Collects entries, all owned by root and without times, so that the same input gives the
    same bytes. Paths are relative or absolute; missing parent directories are added (0755).
    """

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._directories: set[str] = set()
        self._count = 0

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory, once."""
        path = path.strip("/")
        if path and path not in self._directories:
            self._parents(path)
            self._directories.add(path)
            self._entry(path, stat.S_IFDIR | mode, links=2)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._parents(path)
        self._entry(path, stat.S_IFREG | mode, data)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link at ``path`` that points to ``target``."""
        self._parents(path)
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device."""
        self._parents(path)
        self._entry(path, stat.S_IFCHR | mode, device=(major, minor))

    def finish(self) -> bytes:
        """Return the archive with its trailer, padded to whole blocks."""
        self._entry("TRAILER!!!", 0)
        archive = b"".join(self._chunks)
        return archive + bytes(-len(archive) % _BLOCK)

    def _parents(self, path: str) -> None:
        parent = path.strip("/").rpartition("/")[0]
        if parent:
            self.directory(parent)

    def _entry(
        self,
        path: str,
        mode: int,
        data: bytes = b"",
        *,
        links: int = 1,
        device: tuple[int, int] = (0, 0),
    ) -> None:
        name = path.strip("/").encode() + b"\0"
        self._count += 1
        fields = (self._count, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self._chunks += (header, bytes(-len(header) % _ALIGN), data, bytes(-len(data) % _ALIGN))
