"""Names that remove what lower layers hold (OCI image specification, layer.md, "Whiteouts")."""

from __future__ import annotations

from banger_core.errors import HostileInput
from banger_core.model import Entry, EntryKind

_PREFIX = b".wh."
_META = b".wh..wh."
_OPAQUE = b".wh..wh..opq"


def as_whiteout(entry: Entry) -> Entry | None:
    """Return ``entry``, or the WHITEOUT or OPAQUE entry that its name stands for.

    None for AUFS's own bookkeeping (``.wh..wh.plnk`` and its like), which no image means to have.
    Raises HostileInput for a whiteout that names nothing or a parent directory.
    """
    if _PREFIX not in entry.path:
        return entry
    parent, _, name = entry.path.rstrip(b"/").rpartition(b"/")
    if not name.startswith(_PREFIX):
        return None if b"/" + _META in b"/" + parent else entry
    if name == _OPAQUE:
        return Entry(path=parent, kind=EntryKind.OPAQUE)
    if name.startswith(_META):
        return None
    hidden = name[len(_PREFIX) :]
    if hidden in (b"", b".", b".."):
        raise HostileInput("a layer removes what it may not name", cause=f"{entry.path[:80]!r}")
    return Entry(path=parent + b"/" + hidden, kind=EntryKind.WHITEOUT)
