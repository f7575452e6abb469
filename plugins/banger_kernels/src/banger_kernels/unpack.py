"""A kernel's tarball: ``vmlinux``, ``initrd.img``, ``modules/`` and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from banger_core.api import (
    EntryKind,
    HostileInput,
    IntegrityError,
    KernelFiles,
    open_layer,
    quoted,
    read_tar,
    room_in,
    secure_dir,
)
from banger_kernels.document import TARBALL_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from banger_core.api import Entry

MEMBERS_MAX = 50_000
"""Most members of a tarball."""

_DEPTH_MAX = 20
_COMPONENT = re.compile(rb"[A-Za-z0-9_+@,=-][A-Za-z0-9_.+@,=:~-]{0,127}")
# Every distribution ships them, and they lead to where the kernel was built
_DROPPED = (b"modules/build", b"modules/source")
_ELF_MACHINES = {"amd64": 62, "arm64": 183}


def unpack(
    tarball: Path,
    digest: str,
    into: Path,
    report: Callable[[int], None],
    *,
    limit: int = TARBALL_MAX,
) -> KernelFiles:
    """Write the members of ``tarball`` into the empty directory ``into``.

    ``report`` gets the bytes written so far, at most ``limit``. Raises HostileInput for members
    that are not allowed, IntegrityError for damage and when there is no ``vmlinux``, and NoSpace.
    """
    members = _Members(into, report, limit)
    # Headers and padding come on top of the content
    stream = open_layer(tarball, digest=digest, limit=limit + MEMBERS_MAX * 2048)
    with room_in(into), _closed(stream):
        for entry in read_tar(stream):
            members.take(entry)
    if not (into / "vmlinux").is_file():
        raise IntegrityError("the kernel's tarball is not one", cause="it has no vmlinux")
    return KernelFiles.in_directory(into)


def check_kernel(vmlinux: Path, architecture: str) -> None:
    """Raise IntegrityError unless ``vmlinux`` is an ELF kernel for ``architecture``."""
    with vmlinux.open("rb") as file:
        head = file.read(20)
    # 64 bits, little-endian: so are both architectures
    if head[:6] != b"\x7fELF\x02\x01" or len(head) < 20:
        raise IntegrityError(
            "the kernel's tarball is not one", cause="its vmlinux is not a 64-bit ELF file"
        )
    machine = int.from_bytes(head[18:20], "little")
    if machine != _ELF_MACHINES[architecture]:
        raise IntegrityError(
            "the kernel is not for the architecture that was promised",
            cause=f"its ELF machine is {machine}, {_ELF_MACHINES[architecture]} is {architecture}",
        )


@contextmanager
def _closed(stream: Iterator[bytes]) -> Iterator[None]:
    """End the thread that reads ahead, also when reading stops half-way."""
    try:
        yield
    finally:
        if isinstance(stream, Generator):
            stream.close()


class _Members:
    """Takes members one by one; every name is checked before it is a path."""

    def __init__(self, into: Path, report: Callable[[int], None], limit: int) -> None:
        self._into, self._report, self._limit = into, report, limit
        self._count = self._written = 0
        self._kinds: dict[bytes, EntryKind] = {}

    def take(self, entry: Entry) -> None:
        self._count += 1
        if self._count > MEMBERS_MAX:
            raise _refused("it has too many members", f"more than {MEMBERS_MAX:,}")
        name = entry.path.removeprefix(b"./").rstrip(b"/")
        if name in (b"", b".") and entry.kind is EntryKind.DIRECTORY:
            return
        if name in _DROPPED and entry.kind is EntryKind.SYMLINK:
            return
        self._check(name, entry)
        if entry.kind is EntryKind.DIRECTORY:
            self._directory(name)
        else:
            self._file(name, entry)

    def _check(self, name: bytes, entry: Entry) -> None:
        shown = quoted(entry.path)
        parts = name.split(b"/")
        allowed = EntryKind.DIRECTORY if name == b"modules" else EntryKind.FILE
        inside = len(parts) > 1 and parts[0] == b"modules"
        if not inside and name not in (b"vmlinux", b"initrd.img", b"modules"):
            raise _refused(f"it has {shown}", "only vmlinux, initrd.img and modules/ may be in it")
        if not all(_COMPONENT.fullmatch(part) for part in parts) or len(parts) > _DEPTH_MAX:
            raise _refused("it has a strange file name", shown)
        if entry.kind is not allowed and not (inside and entry.kind is EntryKind.DIRECTORY):
            raise _refused(
                f"{shown} is a {entry.kind.value}", "only regular files and directories may be"
            )

    def _directory(self, name: bytes) -> None:
        """Make a directory and those above it, unless they are there."""
        parts = name.split(b"/")
        for depth in range(1, len(parts) + 1):
            above = b"/".join(parts[:depth])
            kind = self._kinds.setdefault(above, EntryKind.DIRECTORY)
            if kind is not EntryKind.DIRECTORY:
                raise _refused("it has a file where a directory is", quoted(above))
        secure_dir(self._into / os.fsdecode(name))

    def _file(self, name: bytes, entry: Entry) -> None:
        if name in self._kinds:
            raise _refused("it has a member twice", quoted(name))
        if b"/" in name:
            self._directory(name.rpartition(b"/")[0])
        self._kinds[name] = EntryKind.FILE
        if not entry.size and name in (b"vmlinux", b"initrd.img"):
            raise _refused("it has an empty file", quoted(name))
        if self._written + entry.size > self._limit:
            raise _refused("it is too big", f"it unpacks to more than {self._limit >> 20} MiB")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self._into / os.fsdecode(name), flags, 0o600)
        with os.fdopen(handle, "wb") as file:
            for chunk in entry.data or ():
                if isinstance(chunk, int):
                    file.seek(chunk, os.SEEK_CUR)
                else:
                    file.write(chunk)
            file.truncate(entry.size)
        self._written += entry.size
        self._report(self._written)


def _refused(what: str, cause: str) -> HostileInput:
    return HostileInput(f"the kernel's tarball is refused: {what}", cause=cause)
