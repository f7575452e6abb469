"""Debian packages (deb(5)): an ar archive with a compressed tar of the files in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from banger_core.errors import HostileInput, IntegrityError
from banger_core.rootfs.reader import CHUNK
from banger_core.rootfs.stream import decompressed
from banger_core.rootfs.tar import read_tar

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.model import Entry

DATA_MAX = 8 << 30
"""Bytes that the files of one package may expand to."""

_MAGIC = b"!<arch>\n"
_HEADER = re.compile(rb"(.{16})(.{12})(.{6})(.{6})(.{8})([0-9]{1,10} *)`\n", re.DOTALL)
_HEADER_SIZE = 60
_DATA = b"data.tar"
_MAGICS = {b"": b"", b".gz": b"\x1f\x8b", b".xz": b"\xfd7zXZ\0", b".zst": b"\x28\xb5\x2f\xfd"}


@contextmanager
def open_deb(path: Path) -> Iterator[Iterator[Entry]]:
    """Give the entries of a package's files, in archive order; nothing is written anywhere.

    Paths have no ``./`` in front; otherwise entries follow the rules of ``read_tar``. Raises
    IntegrityError for a damaged package, HostileInput for what no honest archive holds and
    HostNotReady when no library unpacks it.
    """
    with path.open("rb") as deb:
        size = _find_data(deb, path.name)
        yield _plain(read_tar(decompressed(_chunks(deb, size, path.name), limit=DATA_MAX)))


def read_content(entry: Entry, limit: int) -> bytes:
    """Return the content of a regular file. Raises HostileInput above ``limit`` bytes."""
    if entry.data is None or entry.size > limit:
        raise HostileInput(
            f"{entry.path.decode(errors='replace')[:200]!r} is not what it should be",
            cause=f"{entry.kind} of {entry.size} bytes",
            hints=["fetch the package from its distribution again"],
        )
    return b"".join(bytes(chunk) for chunk in entry.data)


def _plain(entries: Iterator[Entry]) -> Iterator[Entry]:
    for entry in entries:
        entry.path = entry.path.removeprefix(b"./").rstrip(b"/")
        yield entry


def _find_data(deb: IO[bytes], name: str) -> int:
    """Go to the beginning of the files' tar archive and return its size."""
    if deb.read(len(_MAGIC)) != _MAGIC:
        raise _damaged(f"{name} is no Debian package", "it is not an ar archive")
    while header := deb.read(_HEADER_SIZE):
        fields = _HEADER.fullmatch(header)
        if not fields:
            raise _damaged(f"{name} is damaged", "an ar header is malformed")
        member, size = fields[1].rstrip(b" /"), int(fields[6])
        if member.startswith(_DATA):
            _check_packing(deb, name, member)
            return size
        # Members begin at even places
        deb.seek(size + size % 2, 1)
    raise _damaged(f"{name} is damaged", "it has no data member")


def _check_packing(deb: IO[bytes], name: str, member: bytes) -> None:
    """Raise unless the member is packed as its name says, in a known way."""
    magic = _MAGICS.get(member[len(_DATA) :])
    if magic is None:
        raise HostileInput(
            f"{name} is packed in an unknown way",
            cause=f"it has {member.decode('ascii', 'replace')!r}; .gz, .xz and .zst are known",
            hints=["dpkg-deb --extract FILE DIR unpacks it"],
        )
    found = deb.read(len(magic))
    deb.seek(-len(found), 1)
    if found != magic:
        raise _damaged(f"{name} is damaged", f"{member.decode('ascii')} is not what it says")


def _chunks(deb: IO[bytes], size: int, name: str) -> Iterator[bytes]:
    while size:
        chunk = deb.read(min(size, CHUNK))
        if not chunk:
            raise _damaged(f"{name} is damaged", "it ends in the middle")
        size -= len(chunk)
        yield chunk


def _damaged(what: str, why: str) -> IntegrityError:
    return IntegrityError(what, cause=why, hints=["fetch it again"])
