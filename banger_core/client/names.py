"""Names for completion: read from what is stored, so that they are there when no daemon runs, and
a key press starts none. Nothing is changed, waited for or complained about.

Of a machine, which is named as in a command, they are none when it cannot be told which one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from banger_core.config.paths import Paths

Kind = Literal["vms", "images", "kernels"]

_PATIENCE = 0.2
"""Seconds to wait for whoever holds the database: a person looks at the prompt."""


class _Machine(NamedTuple):
    id: str
    record: dict[str, Any]


def stored_names(paths: Paths, kind: Kind) -> list[str]:
    """Return the names of all ``kind``, sorted; none when they cannot be read."""
    if kind == "kernels":
        try:
            return sorted(one.name for one in paths.kernels.iterdir() if one.name[:1] != ".")
        except OSError:
            return []
    rows = _rows(paths.database, f"SELECT name FROM {kind} ORDER BY name")  # noqa: S608
    return [str(name) for (name,) in rows]


def stored_snapshots(paths: Paths, vm: str) -> list[str]:
    """Return the names of a machine's snapshots, oldest first."""
    wanted = "SELECT name FROM snapshots WHERE vm_id = ? ORDER BY created_at, id"
    rows = [row for one in _machine(paths, vm) for row in _rows(paths.database, wanted, one.id)]
    return [str(name) for (name,) in rows]


def stored_sessions(paths: Paths, vm: str, *, gone: bool) -> list[str]:
    """Return the names of the sessions that were started in a machine since it was started last,
    sorted; with ``gone`` also of those that it took along when it stopped.
    """
    return [
        place.stem
        for one in _machine(paths, vm)
        for place in sorted(paths.vm_state(one.id).glob("sessions/*.json"))
        if gone or _is_of_this_run(place, one.record)
    ]


def stored_labels(paths: Paths, vm: str = "") -> list[tuple[str, str]]:
    """Return the labels, each a key and a value, of a machine, or of all of them; sorted."""
    found = set()
    for one in _machine(paths, vm) if vm else _machines(paths):
        labels = _part(one.record, "plan", "labels")
        found |= {(key, str(value)) for key, value in labels.items()}
    return sorted(found)


def stored_forwards(paths: Paths, vm: str) -> list[str]:
    """Return the ports that a machine publishes, as ``8080`` or ``53/udp``."""
    from banger_core.model import GUEST_SSH_PORT

    return [
        f"{each['host_port']}{'/udp' * (each['protocol'] == 'udp')}"
        for one in _machine(paths, vm)
        for each in _part(one.record, "plan", "net").get("forwards") or []
        if each["guest_port"] != GUEST_SSH_PORT
    ]


def _machine(paths: Paths, reference: str) -> list[_Machine]:
    """The machine of that name, id or unique start of an id."""
    wanted = "SELECT name, id, record FROM vms WHERE name = ?1 OR substr(id, 1, length(?1)) = ?1"
    rows = _rows(paths.database, wanted, reference)
    fitting = [row for row in rows if row[0] == reference] or rows
    found = [_Machine(str(vm_id), _read(record)) for _, vm_id, record in fitting]
    return found if len(found) == 1 else []


def _machines(paths: Paths) -> Iterator[_Machine]:
    for vm_id, record in _rows(paths.database, "SELECT id, record FROM vms"):
        yield _Machine(str(vm_id), _read(record))


def _part(record: dict[str, Any], *path: str) -> dict[str, Any]:
    for name in path:
        inner = record.get(name)
        record = inner if isinstance(inner, dict) else {}
    return record


def _is_of_this_run(session: Path, record: dict[str, Any]) -> bool:
    if record.get("state") in ("stopped", "failed"):
        return False
    try:
        return _read(session.read_text("utf-8")).get("machine_began") == record.get("started_at")
    except (OSError, ValueError):
        return False


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _rows(database: Path, statement: str, *parameters: str) -> list[tuple[Any, ...]]:
    import sqlite3
    from contextlib import closing

    journal = database.with_name(database.name + "-wal")
    try:
        # A reader of a database that nobody has open would leave a journal behind
        mode = "mode=ro" if journal.exists() else "mode=ro&immutable=1"
        where = f"{database.absolute().as_uri()}?{mode}"
        with closing(sqlite3.connect(where, timeout=_PATIENCE, uri=True)) as connection:
            return connection.execute(statement, parameters).fetchall()
    except (OSError, sqlite3.Error):
        return []
