"""What is in an archive of images: read in one pass, nothing unpacked, every name distrusted."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from banger_core.api import (
    Entry,
    EntryKind,
    HostileInput,
    IntegrityError,
    Interrupted,
    open_layer,
    read_tar,
)
from banger_oci.documents import DOCUMENT_LIMIT
from banger_oci.layers import closed
from banger_oci.local import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_MAX_MEMBERS = 1 << 16
_MAX_DOCUMENTS = 64 << 20
_MAX_LINKS = 8
_FREE_BYTES = 1 << 30
_RATIO = 256
_MAGIC = 4
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zX": "xz"}


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive. ``compression`` is told by its first bytes; ``digest`` is known only
    for what is compressed: everything else has the digest that the image's configuration says.
    """

    size: int
    compression: str = ""
    digest: str = ""


@dataclass(slots=True)
class Contents:
    """The files of an archive by their names, the content of those that may be JSON, and links
    (name to name).
    """

    members: dict[str, Member] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """Return the file that ``name`` means, through links inside the archive.

        Raises IntegrityError when there is none.
        """
        found = normal(name)
        for _ in range(_MAX_LINKS):
            if found in self.members:
                return found
            if found not in self.links:
                break
            found = self.links[found]
        raise IntegrityError(
            "the archive is not complete", cause=f"it does not hold {name[:100]!r}"
        )

    def add(self, name: str) -> None:
        """Refuse a second file of one name (readers differ in which they take), and too many."""
        if name in self.members or name in self.links:
            raise HostileInput("the archive is ambiguous", cause=f"it holds {name[:100]!r} twice")
        if len(self.members) + len(self.links) >= _MAX_MEMBERS:
            raise HostileInput("the archive is absurd", cause=f"more than {_MAX_MEMBERS} files")


def read_contents(path: Path, stop: threading.Event) -> Contents:
    """Read the archive ``path`` (plain, gzip, zstd or xz) once and say what is in it.

    ``stop`` ends it early with Interrupted. Raises HostileInput and IntegrityError.
    """
    contents = Contents()
    left = _MAX_DOCUMENTS
    for name, entry in walk(path, stop):
        if entry.kind in (EntryKind.SYMLINK, EntryKind.HARDLINK):
            contents.add(name)
            contents.links[name] = _target(name, entry)
        elif entry.kind is EntryKind.FILE:
            contents.add(name)
            contents.members[name], document = _look(entry)
            if document is not None:
                left -= len(document)
                contents.documents[name] = document
        if left < 0:
            raise HostileInput("the archive holds absurdly many documents")
    return contents


def walk(path: Path, stop: threading.Event) -> Iterator[tuple[str, Entry]]:
    """Yield the entries of an archive whose names can be asked for, with these names.

    Raises HostileInput for more than 1 GiB and 256 times the file's size, HostNotReady when it
    cannot be read.
    """
    try:
        bound = _FREE_BYTES + _RATIO * path.stat().st_size
        with closed(open_layer(path, limit=bound)) as stream:
            for entry in read_tar(_until(stream, stop)):
                if name := _name(entry):
                    yield name, entry
    except OSError as problem:
        raise unreadable(path, problem) from problem


def content(entry: Entry) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file. Raises HostileInput for holes, which no such archive has."""
    for piece in entry.data or ():
        if isinstance(piece, int):
            raise HostileInput(
                "the archive holds a sparse file", cause=f"{entry.path[:100]!r} has holes"
            )
        yield piece


def _name(entry: Entry) -> str:
    try:
        return normal(entry.path.decode())
    except UnicodeDecodeError:
        return ""


def normal(name: str) -> str:
    """Return the one way to write a name; empty for what is not inside the archive."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _until(stream: Iterable[bytes], stop: threading.Event) -> Iterator[bytes]:
    for chunk in stream:
        if stop.is_set():
            raise Interrupted("reading the archive was interrupted")
        yield chunk


def _target(name: str, entry: Entry) -> str:
    """The name that a link leads to. Both kinds are only ever looked up, never followed."""
    link = entry.link.decode("utf-8", "replace")
    if entry.kind is EntryKind.HARDLINK or link.startswith("/"):
        return normal(link)
    return normal(f"{name.rpartition('/')[0]}/{link}")


def _look(entry: Entry) -> tuple[Member, bytes | None]:
    """Describe a file, with its content when that may be JSON."""
    pieces = content(entry)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _MAGIC:
            break
    if entry.size <= DOCUMENT_LIMIT and head.lstrip()[:1] in (b"{", b"["):
        return Member(entry.size), head + b"".join(pieces)
    kinds = (kind for magic, kind in _COMPRESSED.items() if head.startswith(magic))
    compression = next(kinds, "")
    if not compression:
        return Member(entry.size), None
    found = hashlib.sha256(head)
    for piece in pieces:
        found.update(piece)
    return Member(entry.size, compression, f"sha256:{found.hexdigest()}"), None
