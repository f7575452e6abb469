"""Names for completion: read from what is stored, so that they are there when no daemon runs, and
a key press starts none. Nothing is changed, waited for or complained about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.config.paths import Paths

Kind = Literal["vms", "images", "kernels"]

_PATIENCE = 0.2
"""Seconds to wait for whoever holds the database: a person looks at the prompt."""


def stored_names(paths: Paths, kind: Kind) -> list[str]:
    """Return the names of all ``kind``, sorted; none when they cannot be read."""
    try:
        if kind == "kernels":
            return sorted(one.name for one in paths.kernels.iterdir() if one.name[:1] != ".")
        return _recorded(paths.database, kind)
    except OSError:
        return []


def _recorded(database: Path, table: Literal["vms", "images"]) -> list[str]:
    import sqlite3
    from contextlib import closing

    journal = database.with_name(database.name + "-wal")
    # A reader of a database that nobody has open would leave a journal behind
    mode = "mode=ro" if journal.exists() else "mode=ro&immutable=1"
    try:
        where = f"{database.absolute().as_uri()}?{mode}"
        with closing(sqlite3.connect(where, timeout=_PATIENCE, uri=True)) as connection:
            found = connection.execute(f"SELECT name FROM {table} ORDER BY name")  # noqa: S608
            return [str(name) for (name,) in found]
    except sqlite3.Error:
        return []
