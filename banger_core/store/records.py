"""VMs and images: the whole record as JSON, beside the columns that are asked for."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from banger_core.errors import Conflict, IntegrityError, NotFound, UsageProblem
from banger_core.jsonable import from_json, to_json
from banger_core.model import ImageRecord, VmRecord, VmState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from banger_core.store.database import Database

T = TypeVar("T")
Table = Literal["vms", "images"]

_NOUNS: dict[Table, str] = {"vms": "VM", "images": "image"}

_UPDATE_VM = (
    "UPDATE vms SET name = ?, state = ?, image_id = ?, created_at = ?, record = ? WHERE id = ?"
)


class Records:
    """The VMs and images of one state. Every call is one committed transaction.

    A reference is a name, an id, or a unique prefix of an id, in this order.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- VMs ---------------------------------------------------------------------------------

    def add_vm(self, record: VmRecord) -> None:
        """Add a VM. Raises Conflict when its name or id is taken, or its image is not here."""
        self._write(
            "INSERT INTO vms (name, state, image_id, created_at, record, id) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            _vm_row(record),
            record,
        )

    def update_vm(self, record: VmRecord) -> None:
        """Replace the VM with this id. Raises NotFound, and Conflict for a name that is taken."""
        ends = record.state in (VmState.STOPPED, VmState.FAILED, VmState.DELETING)
        changed = (self._settle if ends else self._write)(
            _UPDATE_VM,
            _vm_row(record),
            record,
        )
        if not changed:
            raise self._not_found("vms", record.id)

    def update_vms(self, records: Sequence[VmRecord]) -> None:
        """Replace the VMs with these ids, all of them or none; one alone as ``update_vm`` does."""
        if len(records) == 1:
            self.update_vm(records[0])
            return
        with self._database.transaction() as connection:
            connection.executemany(_UPDATE_VM, map(_vm_row, records))

    def vm(self, ref: str) -> VmRecord:
        """Return a VM. Raises NotFound with the names there are, UsageProblem when ambiguous."""
        return self._one(VmRecord, "vms", ref)

    def find_vms(self, refs: Iterable[str]) -> list[VmRecord | UsageProblem]:
        """Return for each reference, at one moment, its VM or what ``vm`` would raise."""
        found: list[VmRecord | UsageProblem] = []
        # One writer, and nothing is awaited in between
        for ref in refs:
            try:
                found.append(self.vm(ref))
            except UsageProblem as problem:
                found.append(problem)
        return found

    def vms(self) -> list[VmRecord]:
        """Return all VMs, oldest first."""
        return self._all(VmRecord, "SELECT id, record FROM vms ORDER BY created_at, id")

    def remove_vm(self, vm_id: str) -> None:
        """Forget the VM with this id. Idempotent."""
        self._database.settle("DELETE FROM vms WHERE id = ?", vm_id)

    def vms_using_image(self, image_id: str) -> list[VmRecord]:
        """Return the VMs made of an image, oldest first."""
        sql = "SELECT id, record FROM vms WHERE image_id = ? ORDER BY created_at, id"
        return self._all(VmRecord, sql, image_id)

    # --- images ------------------------------------------------------------------------------

    def add_image(self, record: ImageRecord) -> None:
        """Add an image. Raises Conflict when its name or id is taken."""
        self._write(
            "INSERT INTO images (name, ref, created_at, record, id) VALUES (?, ?, ?, ?, ?)",
            _image_row(record),
            record,
        )

    def update_image(self, record: ImageRecord) -> None:
        """Replace the image with this id. Raises NotFound, and Conflict for a taken name."""
        changed = self._write(
            "UPDATE images SET name = ?, ref = ?, created_at = ?, record = ? WHERE id = ?",
            _image_row(record),
            record,
        )
        if not changed:
            raise self._not_found("images", record.id)

    def image(self, ref: str) -> ImageRecord:
        """Return an image. Raises NotFound with the names there are, UsageProblem when
        ambiguous.
        """
        return self._one(ImageRecord, "images", ref)

    def image_by_ref(self, ref: str) -> ImageRecord | None:
        """Return the newest image that was pulled as ``SCHEME://REST``, or None."""
        sql = "SELECT id, record FROM images WHERE ref = ? ORDER BY created_at DESC, id LIMIT 1"
        return next(iter(self._all(ImageRecord, sql, ref)), None)

    def images(self) -> list[ImageRecord]:
        """Return all images, oldest first."""
        return self._all(ImageRecord, "SELECT id, record FROM images ORDER BY created_at, id")

    def remove_image(self, image_id: str) -> None:
        """Forget the image with this id. Idempotent. Raises Conflict while a VM is made of it."""
        try:
            self._database.settle("DELETE FROM images WHERE id = ?", image_id)
        except sqlite3.IntegrityError as problem:
            users = ", ".join(vm.name for vm in self.vms_using_image(image_id))
            raise Conflict(
                f"image {image_id} is in use",
                cause=f"machines are made of it: {users}",
                hints=["banger vm delete NAME"],
            ) from problem

    # --- how ---------------------------------------------------------------------------------

    def _write(self, sql: str, row: tuple[Any, ...], record: VmRecord | ImageRecord) -> int:
        try:
            with self._database.transaction() as connection:
                return connection.execute(sql, row).rowcount
        except sqlite3.IntegrityError as problem:
            _refuse(record, problem)

    def _settle(self, sql: str, row: tuple[Any, ...], record: VmRecord) -> int:
        try:
            return self._database.settle(sql, *row)
        except sqlite3.IntegrityError as problem:
            _refuse(record, problem)

    def _one(self, kind: type[T], table: Table, ref: str) -> T:
        # Table names are our own literals
        found = self._database.rows(
            f"SELECT id, record FROM {table} WHERE name = ?1 "  # noqa: S608
            f"UNION ALL SELECT id, record FROM {table} WHERE id = ?1",
            ref,
        )
        if not found and ref:
            found = self._database.rows(
                f"SELECT id, record FROM {table} "  # noqa: S608
                "WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id",
                ref,
            )
            if len(found) > 1:
                raise UsageProblem(
                    f"{ref!r} is the beginning of several {_NOUNS[table]} ids",
                    cause=", ".join(row[0] for row in found[:8]),
                    hints=["give more digits, or the name"],
                )
        if not found:
            raise self._not_found(table, ref)
        return read_record(kind, *found[0])

    def _all(self, kind: type[T], sql: str, *parameters: str) -> list[T]:
        return [read_record(kind, *row) for row in self._database.rows(sql, *parameters)]

    def _not_found(self, table: Table, ref: str) -> NotFound:
        names = self._database.rows(f"SELECT name FROM {table}")  # noqa: S608 - our own literal
        noun = _NOUNS[table]
        known = [row[0] for row in names]
        return NotFound(noun, ref, known, hints=[f"banger {noun.lower()} list"])


def _vm_row(record: VmRecord) -> tuple[Any, ...]:
    image = record.image_id or None
    return record.name, record.state.value, image, record.created_at, record_text(record), record.id


def _image_row(record: ImageRecord) -> tuple[Any, ...]:
    return record.name, record.pin.ref, record.created_at, record_text(record), record.id


def record_text(record: Any) -> str:
    """Return a record as JSON."""
    return json.dumps(to_json(record), separators=(",", ":"))


def read_record(kind: type[T], record_id: str, text: str) -> T:
    """Return a record from its JSON. Raises IntegrityError."""
    try:
        return from_json(kind, json.loads(text))
    except ValueError as problem:
        raise IntegrityError(
            f"the record of {record_id} cannot be read", cause=str(problem)
        ) from problem


def _refuse(record: VmRecord | ImageRecord, problem: sqlite3.IntegrityError) -> NoReturn:
    noun = "VM" if isinstance(record, VmRecord) else "image"
    if problem.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY":
        raise Conflict(
            f"cannot keep VM {record.name}",
            cause="its image has been deleted meanwhile",
            hints=["run the command again"],
        ) from problem
    verb = noun.lower()
    raise Conflict(
        f"there is already {'a VM' if noun == 'VM' else 'an image'} named {record.name!r}",
        cause=str(problem) if ".id" in str(problem) else "names are unique",
        hints=[f"banger {verb} show {record.name}", f"banger {verb} delete {record.name}"],
    ) from problem
