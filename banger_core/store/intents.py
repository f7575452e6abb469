"""Intents: what is about to be done to the host, written down before it is done.

After a crash they tell what may exist; undoing an effect that never happened must be harmless.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from banger_core.jsonable import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from banger_core.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One effect on the host. ``kind`` chooses the undoing (process, directory, network …),
    ``subject`` names the object, ``data`` is what undoing needs beyond that.
    """

    id: int
    vm_id: str
    kind: str
    subject: str
    data: Mapping[str, Any]
    begun_at: float
    done_at: float | None = None

    @property
    def is_done(self) -> bool:
        """Whether the effect is known to have happened."""
        return self.done_at is not None


class Intents:
    """The intents of one state. What a call has changed is on the disk when it returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self, vm_id: str, kind: str, subject: str, data: Mapping[str, Any] | None = None
    ) -> int:
        """Write an intent down, before its effect, and return its id.

        ``data`` may hold whatever ``to_json`` takes; it comes back as plain JSON values.
        """
        text = json.dumps(to_json(data or {}), separators=(",", ":"))
        with self._database.transaction() as connection:
            (number,) = connection.execute(
                "INSERT INTO intents (vm_id, kind, subject, data, begun_at) "
                "VALUES (?, ?, ?, ?, ?) RETURNING id",
                (vm_id, kind, subject, text, time.time()),
            ).fetchone()
            return int(number)

    def done(self, intent_id: int) -> None:
        """The effect has happened."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE intents SET done_at = ? WHERE id = ?", (time.time(), intent_id)
            )

    def remove(self, intent_id: int) -> None:
        """The effect is undone: forget it. Idempotent."""
        self._database.settle("DELETE FROM intents WHERE id = ?", intent_id)

    def open(self) -> list[Intent]:
        """Return the intents that are not done, newest first: effects in doubt."""
        return self._read("WHERE done_at IS NULL")

    def of(self, vm_id: str) -> list[Intent]:
        """Return all effects of a VM, done or not, newest first: the order of tearing down."""
        return self._read("WHERE vm_id = ?", vm_id)

    def all(self) -> list[Intent]:
        """Return all intents, newest first."""
        return self._read("")

    def _read(self, where: str, *parameters: str) -> list[Intent]:
        rows = self._database.rows(
            "SELECT id, vm_id, kind, subject, data, begun_at, done_at FROM intents "  # noqa: S608
            f"{where} ORDER BY id DESC",
            *parameters,
        )
        return [
            Intent(
                id=row[0],
                vm_id=row[1],
                kind=row[2],
                subject=row[3],
                data=json.loads(row[4]),
                begun_at=row[5],
                done_at=row[6],
            )
            for row in rows
        ]
