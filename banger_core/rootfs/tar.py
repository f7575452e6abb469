"""A strict tar reader that gives layer entries: nothing is ever extracted.

Understands v7, ustar, pax (POSIX.1-2001), GNU long names, GNU and pax sparse files, and extended
attributes as ``SCHILY.xattr`` records. Names are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from banger_core.errors import HostileInput, IntegrityError
from banger_core.model import Entry, EntryKind
from banger_core.rootfs import sparse
from banger_core.rootfs.names import MAX_FILE
from banger_core.rootfs.nodes import NO_XATTRS
from banger_core.rootfs.pax import XATTR, Records, parse_decimal, parse_records, parse_time
from banger_core.rootfs.reader import ByteReader, Readable, chunks_of, truncated
from banger_core.rootfs.tarheader import (
    BLOCK,
    ZERO_BLOCK,
    Header,
    name_of,
    parse_header,
    parse_number,
    parse_repeated,
    text_of,
)
from banger_core.rootfs.whiteouts import as_whiteout

MAX_EXTENSION = 1 << 20
"""Longest extended header in bytes: far above what names and attributes of a file can need."""

_FILE = EntryKind.FILE
_DEVICES = (EntryKind.CHAR, EntryKind.BLOCK)
_NO_DEVICE = (0, 0)

_KINDS = {
    b"0": EntryKind.FILE,
    b"\0": EntryKind.FILE,
    b"7": EntryKind.FILE,
    b"S": EntryKind.FILE,
    b"1": EntryKind.HARDLINK,
    b"2": EntryKind.SYMLINK,
    b"3": EntryKind.CHAR,
    b"4": EntryKind.BLOCK,
    b"5": EntryKind.DIRECTORY,
    b"6": EntryKind.FIFO,
}


def read_tar(
    stream: Readable | Iterable[bytes], *, whiteouts: bool = False, end_marker: bool = True
) -> Iterator[Entry]:
    """Yield the entries of an uncompressed tar archive, in order, and read it to its very end.

    ``stream`` is a binary readable or an iterable of chunks. With ``whiteouts``, names of the OCI
    image specification (``.wh.NAME``, ``.wh..wh..opq``) become WHITEOUT and OPAQUE entries. Without
    ``end_marker`` an archive may end without its final zero blocks: only where its length is
    vouched for otherwise. What of an entry's ``data`` is not consumed is skipped. Memory is bounded
    by one chunk and one extended header. Raises HostileInput for malformed headers and
    IntegrityError for truncation.
    """
    reader = ByteReader(chunks_of(stream))
    for entry in _TarReader(reader, end_marker=end_marker).entries():
        found = as_whiteout(entry) if whiteouts else entry
        if found is not None:
            yield found


class _TarReader:
    __slots__ = (
        "_end_marker",
        "_extended",
        "_global",
        "_long_link",
        "_long_name",
        "_reader",
        "_records",
    )

    def __init__(self, reader: ByteReader, *, end_marker: bool) -> None:
        self._reader = reader
        self._end_marker = end_marker
        self._global: Records = {}
        self._forget()

    def _forget(self) -> None:
        self._extended = False
        self._records: Records = {}
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None

    def entries(self) -> Iterator[Entry]:
        while block := self._next_block():
            header = parse_header(block)
            if header.flag in b"xXgLK":
                self._extend(header.flag, self._extension(header))
                continue
            entry, end = self._entry(header, block)
            if self._extended:
                self._forget()
            yield entry
            self._reader.skip(end - self._reader.offset)
        if self._records or self._long_name is not None or self._long_link is not None:
            raise truncated()
        self._reader.drain()

    def _next_block(self) -> bytes | None:
        """Return the block of the next header, None at the archive's end."""
        block = self._reader.take(BLOCK)
        if not block and not self._end_marker:
            return None
        if not block:
            raise IntegrityError("the archive is truncated", cause="its end marker is missing")
        if len(block) < BLOCK:
            raise truncated()
        if block == ZERO_BLOCK:
            # A single one at the very end is tolerated, as GNU tar does
            if self._reader.take(BLOCK).strip(b"\0"):
                raise HostileInput(
                    "the archive is malformed", cause="data follows a single zero block"
                )
            return None
        return block

    def _extension(self, header: Header) -> bytes:
        size = parse_number(header.size)
        if not 0 <= size <= MAX_EXTENSION:
            raise HostileInput(
                "the archive has an absurd extended header", cause=f"it announces {size} bytes"
            )
        return self._reader.exactly(size + -size % BLOCK)[:size]

    def _extend(self, flag: bytes, data: bytes) -> None:
        """Keep an extended header for the next entry, or a global one for all that follow."""
        self._extended = True
        if flag == b"g":
            self._global.update(parse_records(data))
            if sum(map(len, self._global)) + sum(map(len, self._global.values())) > MAX_EXTENSION:
                raise HostileInput("the archive has absurdly large global headers")
        elif flag == b"L":
            self._long_name = data.partition(b"\0")[0]
        elif flag == b"K":
            self._long_link = data.partition(b"\0")[0]
        else:
            self._records = parse_records(data)

    def _entry(self, header: Header, block: bytes) -> tuple[Entry, int]:
        """Return the entry of ``header`` and where in the stream the next header begins."""
        kind = _KINDS.get(header.flag)
        if kind is None:
            raise HostileInput(
                "the archive holds an entry of a kind that no image may have",
                cause=f"type {header.flag!r}",
            )
        # By position: this is done for every file of an image
        entry = Entry(
            name_of(header, block) if self._long_name is None else self._long_name,
            kind,
            parse_repeated(header.mode) & 0o7777,
            parse_repeated(header.uid),
            parse_repeated(header.gid),
            parse_repeated(header.mtime) * 10**9,
            0,
            text_of(header.link) if self._long_link is None else self._long_link,
            _NO_DEVICE,
            NO_XATTRS,
        )
        if kind in _DEVICES:
            entry.rdev = parse_number(header.major), parse_number(header.minor)
        stored = parse_number(header.size)
        records = {**self._global, **self._records} if self._global else self._records
        if records:
            stored = _apply(records, entry, stored)
        if not 0 <= stored <= MAX_FILE:
            raise _absurd_size(stored)
        if kind is not _FILE:
            # Whatever they announce, nothing is stored for links, devices and directories
            return entry, self._reader.offset
        if records or header.flag == b"S":
            return entry, self._attach_data(block, records, entry, stored)
        return entry, self._attach_plain(entry, stored)

    def _attach_data(self, block: bytes, records: Records, entry: Entry, stored: int) -> int:
        """Give a file its size and content; return where the next header begins."""
        reader = self._reader
        if block[156:157] == b"S":
            entry.size, parts = sparse.read_old_map(block, reader)
            end = reader.offset + stored
        elif records and sparse.is_sparse(records):
            end = reader.offset + stored
            entry.size, parts = sparse.read_pax_map(records, reader, stored)
        else:
            return self._attach_plain(entry, stored)
        if not 0 <= entry.size <= MAX_FILE:
            raise _absurd_size(entry.size)
        entry.data = sparse.expand(reader, entry.size, parts, end - reader.offset)
        return end + -stored % BLOCK

    def _attach_plain(self, entry: Entry, stored: int) -> int:
        if entry.path.endswith(b"/"):
            # How archives from before 1988 mark a directory
            entry.kind = EntryKind.DIRECTORY
            return self._reader.offset + stored + -stored % BLOCK
        end = self._reader.offset + stored + -stored % BLOCK
        entry.size = stored
        entry.data = self._reader.pipe(stored)
        return end


def _apply(records: Records, entry: Entry, stored: int) -> int:
    """Let pax records override the header; an empty value means the header's own."""
    xattrs: dict[bytes, bytes] = {}
    for key, value in records.items():
        if key.startswith(XATTR):
            xattrs[key[len(XATTR) :]] = value
        elif not value:
            continue
        elif key == b"path":
            entry.path = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"size":
            stored = parse_decimal(value)
        elif key == b"uid":
            entry.uid = parse_decimal(value)
        elif key == b"gid":
            entry.gid = parse_decimal(value)
        elif key == b"mtime":
            entry.mtime_ns = parse_time(value)
    entry.xattrs = xattrs
    entry.path = records.get(b"GNU.sparse.name") or entry.path
    _check_names(entry)
    return stored


def _check_names(entry: Entry) -> None:
    """The header's own fields end at their first NUL byte; a record may hold any."""
    if b"\0" in entry.path or b"\0" in entry.link:
        raise HostileInput("the archive holds a name with a NUL byte", cause=f"{entry.path!r}")


def _absurd_size(size: int) -> HostileInput:
    return HostileInput("the archive announces an absurd size", cause=f"{size} bytes")
