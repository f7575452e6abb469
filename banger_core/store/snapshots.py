"""Snapshots of VMs: the whole record as JSON, beside the columns that are asked for."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from banger_core.errors import Conflict, NotFound
from banger_core.snapmodel import SnapshotRecord
from banger_core.store.records import read_record, record_text

if TYPE_CHECKING:
    from banger_core.store.database import Database


class Snapshots:
    """The snapshots of one state. Every call is one committed transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: SnapshotRecord) -> None:
        """Add one. Raises Conflict when its VM has one of that name, or is gone."""
        row = (record.id, record.vm_id, record.name, record.created_at, record_text(record))
        try:
            with self._database.transaction() as connection:
                connection.execute(
                    "INSERT INTO snapshots (id, vm_id, name, created_at, record) "
                    "VALUES (?, ?, ?, ?, ?)",
                    row,
                )
        except sqlite3.IntegrityError as problem:
            raise Conflict(
                f"the snapshot {record.name} cannot be kept",
                cause="its machine has one of that name, or has been deleted meanwhile",
                hints=["banger vm snapshot list"],
            ) from problem

    def of(self, vm_id: str) -> list[SnapshotRecord]:
        """Return the snapshots of a VM, oldest first."""
        return self._read("WHERE vm_id = ?", vm_id)

    def all(self) -> list[SnapshotRecord]:
        """Return all snapshots, oldest first."""
        return self._read("")

    def one(self, vm_id: str, name: str) -> SnapshotRecord:
        """Return the snapshot ``name`` of a VM. Raises NotFound with the names there are."""
        found = self.of(vm_id)
        for record in found:
            if record.name == name:
                return record
        known = [record.name for record in found]
        raise NotFound("snapshot", name, known, hints=["banger vm snapshot list"])

    def remove(self, snapshot_id: str) -> None:
        """Forget a snapshot. Idempotent."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM snapshots WHERE id = ?", (snapshot_id,))

    def _read(self, where: str, *parameters: Any) -> list[SnapshotRecord]:
        rows = self._database.rows(
            f"SELECT id, record FROM snapshots {where} ORDER BY created_at, id",  # noqa: S608
            *parameters,
        )
        return [read_record(SnapshotRecord, *row) for row in rows]
