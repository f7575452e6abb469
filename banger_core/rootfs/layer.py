"""One layer of an image: the blob's bytes verified, unpacked and read, under bounds of its size.

A few kilobytes can unpack to terabytes, and a few megabytes to a file system of a million empty
files. What a blob may become is therefore in proportion to what it is: real layers of distributions
and applications unpack to less than twenty times their size and have hundreds of bytes per entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from banger_core.errors import HostileInput
from banger_core.model import Entry
from banger_core.rootfs.stream import MAX_OUTPUT, open_layer
from banger_core.rootfs.tar import read_tar

_FREE_BYTES = 1 << 30
_RATIO = 100
_FREE_ENTRIES = 1 << 16
_BYTES_PER_ENTRY = 32


def read_layer(path: Path, *, digest: str = "", diff_id: str = "") -> Iterator[Entry]:
    """Yield the entries of the layer in the file ``path``, whiteouts among them.

    ``digest`` and ``diff_id`` are promised and checked as ``open_layer`` does it: after the last
    entry the whole file has been compared. Raises IntegrityError for damage and for what was not
    promised; HostileInput for malformed entries, for more than 1 GiB and 100 times the file's
    size, and for more than 65,536 entries and one for each 32 bytes of the file.
    """
    packed = path.stat().st_size
    unpacked = min(MAX_OUTPUT, _FREE_BYTES + _RATIO * packed)
    chunks = open_layer(path, digest=digest, diff_id=diff_id, limit=unpacked)
    return _counted(read_tar(chunks, whiteouts=True), _FREE_ENTRIES + packed // _BYTES_PER_ENTRY)


def _counted(entries: Iterable[Entry], most: int) -> Iterator[Entry]:
    for number, entry in enumerate(entries):
        if number >= most:
            raise HostileInput(
                "a layer of the image has absurdly many entries for its size",
                cause=f"more than {most:,}",
            )
        yield entry
