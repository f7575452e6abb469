"""Debian packages (deb(5)): an ar archive with a compressed tar of the files in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from banger_core.api import HostileInput, IntegrityError, read_tar
from banger_debian.unpack import open_packed

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.api import Entry

_MAGIC = b"!<arch>\n"
_HEADER = re.compile(rb"(.{16})(.{12})(.{6})(.{6})(.{8})([0-9]{1,10} *)`\n", re.DOTALL)
_HEADER_SIZE = 60
_DATA = b"data.tar"


@contextmanager
def open_deb(path: Path) -> Iterator[Iterator[Entry]]:
    """Give the entries of a package's files, in archive order; nothing is written anywhere.

    Paths have no ``./`` in front; otherwise entries follow the rules of ``read_tar``. Raises
    IntegrityError for a damaged package and HostileInput for what no honest archive holds.
    """
    with path.open("rb") as deb:
        suffix, member = _data_member(deb, path.name)
        with open_packed(member, suffix) as stream:
            yield _plain(read_tar(stream))


def read_content(entry: Entry, limit: int) -> bytes:
    """Return the content of a regular file. Raises HostileInput above ``limit`` bytes."""
    if entry.data is None or entry.size > limit:
        raise HostileInput(
            f"{entry.path.decode(errors='replace')!r} is not what it should be",
            cause=f"{entry.kind} of {entry.size} bytes",
        )
    return b"".join(bytes(chunk) for chunk in entry.data)


def _plain(entries: Iterator[Entry]) -> Iterator[Entry]:
    for entry in entries:
        entry.path = entry.path.removeprefix(b"./").rstrip(b"/")
        yield entry


class _Member:
    """One member of an ar archive, as a stream that ends where the member ends."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, count: int = -1, /) -> bytes:
        """Read at most ``count`` bytes, all that is left when negative."""
        count = self._left if count < 0 else min(count, self._left)
        data = self._file.read(count)
        self._left -= len(data)
        return data

    def readable(self) -> bool:
        """Say yes: what unpacks asks first."""
        return True

    def close(self) -> None:
        """Leave the archive open: it belongs to whoever opened it."""


def _data_member(deb: IO[bytes], name: str) -> tuple[str, _Member]:
    if deb.read(len(_MAGIC)) != _MAGIC:
        raise IntegrityError(f"{name} is no Debian package", cause="it is not an ar archive")
    while header := deb.read(_HEADER_SIZE):
        fields = _HEADER.fullmatch(header)
        if not fields:
            raise IntegrityError(f"{name} is damaged", cause="an ar header is malformed")
        member, size = fields[1].rstrip(b" /"), int(fields[6])
        if member.startswith(_DATA):
            return member[len(_DATA) :].decode("ascii", "replace"), _Member(deb, size)
        # Members begin at even places
        deb.seek(size + size % 2, 1)
    raise IntegrityError(f"{name} is damaged", cause="it has no data member")
