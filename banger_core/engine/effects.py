"""Effects on the host: recorded before they happen, undone by one mechanism.

An effect is an intent in the store (what kind, on what, with what data) and the work itself. Its
undoing needs nothing but the intent, so a failure, ``vm delete`` and the first look after a crash
all take the same way: the intents of a VM, newest first.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from banger_core.config.paths import secure_dir
from banger_core.engine import process
from banger_core.engine.operations import Operation
from banger_core.engine.ssh import remove_note
from banger_core.engine.swap import forget_before, put_back
from banger_core.engine.trees import remove_tree
from banger_core.errors import BangerError, GuestFailed, NotFound
from banger_core.jsonable import from_json
from banger_core.model import NetPlan, VmRecord
from banger_core.threads import finished, in_thread

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine
    from banger_core.store.intents import Intent

T = TypeVar("T")

RUN_KINDS = frozenset(
    {"runtime", "network", "process", "attachment", "note", "standstill", "change"}
)
"""Effects of a running VM; the others stay as long as the VM exists."""

SWAP_KINDS = frozenset({"disks"})
"""A VM has disks of a snapshot and those it had are still there, until it is sure (done) that they
are not needed."""

KILL_DEADLINE = 10.0
"""Seconds that a killed process may take to vanish."""

log = logging.getLogger("banger.engine")


class Effects:
    """Does and undoes effects for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._undo: dict[str, Callable[[Intent, Operation | None], Awaitable[None]]] = {
            "directory": self._remove_directory,
            "file": self._remove_file,
            "runtime": self._remove_directory,
            "network": self._network_down,
            "process": self._end_process,
            "attachment": self._detach,
            "note": self._remove_note,
            "standstill": self._nothing,
            "change": self._nothing,
            "disks": self._settle_disks,
        }

    async def do(
        self, vm_id: str, kind: str, subject: str, work: Callable[[], Awaitable[T]], **data: Any
    ) -> T:
        """Record the intent, do ``work``, mark it done. A failure leaves the intent for undoing."""
        intent = self._engine.intents.begin(vm_id, kind, subject, data)
        result = await work()
        self._engine.intents.done(intent)
        return result

    async def redo(self, intent: Intent, work: Callable[[], Awaitable[T]]) -> T:
        """Do ``work`` again, which an earlier daemon began; it may not have come to its end."""
        result = await work()
        if not intent.is_done:
            self._engine.intents.done(intent.id)
        return result

    async def make_directory(self, vm_id: str, kind: str, path: Path) -> Path:
        """Make a private directory as an effect of ``vm_id``."""

        async def work() -> Path:
            return secure_dir(path)

        return await self.do(vm_id, kind, str(path), work)

    async def undo(
        self, vm_id: str, kinds: frozenset[str] | None = None, operation: Operation | None = None
    ) -> None:
        """Undo the effects of ``vm_id``, newest first; only those of ``kinds`` when given.

        Goes on when one undoing fails, keeps that intent for the next try, and raises the first
        failure at the end. Not interrupted by cancelling.
        """
        task = asyncio.ensure_future(self._undo_all(vm_id, kinds, operation))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await finished(task)
            raise

    async def _undo_all(
        self, vm_id: str, kinds: frozenset[str] | None, operation: Operation | None
    ) -> None:
        # Or it would put back what is taken away here
        await self._engine.masters.end(vm_id)
        failures: list[BangerError] = []
        for intent in self._engine.intents.of(vm_id):
            if kinds is not None and intent.kind not in kinds:
                continue
            try:
                await self._undo[intent.kind](intent, operation)
                self._engine.intents.remove(intent.id)
            except BangerError as failure:
                log.warning("could not undo %s %s: %s", intent.kind, intent.subject, failure)
                failures.append(failure)
        if failures:
            raise failures[0]

    async def _remove_directory(self, intent: Intent, _: Operation | None) -> None:
        await in_thread(remove_tree, Path(intent.subject))

    async def _remove_file(self, intent: Intent, _: Operation | None) -> None:
        Path(intent.subject).unlink(missing_ok=True)

    async def _network_down(self, intent: Intent, operation: Operation | None) -> None:
        plan = from_json(NetPlan, intent.data["plan"])
        network = self._engine.registry.networks.load(plan.network)
        await network.down(plan, self._engine.context(plan.network, operation))

    async def _end_process(self, intent: Intent, _: Operation | None) -> None:
        """The launcher leaves its identity in the directory before it becomes the VMM, so the
        process is found even when the daemon died before it learned the pid. The VM's record
        knows it when the directory has vanished.
        """
        records = self._engine.records.vms()
        known = next((vm.process for vm in records if vm.id == intent.vm_id), None)
        found = process.recorded(Path(intent.subject)) or known
        if found is None:
            return
        process.signal(found, signal.SIGKILL)
        try:
            await asyncio.wait_for(process.wait_gone(found), KILL_DEADLINE)
        except TimeoutError:
            raise GuestFailed(
                f"process {found.pid} does not end", cause="it was killed and is still there"
            ) from None

    async def _detach(self, intent: Intent, operation: Operation | None) -> None:
        record = from_json(VmRecord, intent.data["vm"])
        attachments = self._engine.registry.network_attachments
        try:
            attachment = attachments.load(intent.subject)
        except NotFound:
            log.warning("attachment %s is not installed any more", intent.subject)
            return
        await attachment.detach(record, self._engine.context(intent.subject, operation))

    async def _nothing(self, intent: Intent, _: Operation | None) -> None:
        """What stood still has ended, and what was being changed is no more."""

    async def _settle_disks(self, intent: Intent, _: Operation | None) -> None:
        if intent.is_done:
            await in_thread(forget_before, Path(intent.subject))
            return
        await in_thread(put_back, Path(intent.subject))
        before = from_json(VmRecord, intent.data["vm"])
        for record in self._engine.records.vms():
            if record.id == before.id:
                self._engine.records.update_vm(
                    replace(record, plan=before.plan, grown=before.grown)
                )

    async def _remove_note(self, intent: Intent, _: Operation | None) -> None:
        remove_note(self._engine.paths, Path(intent.subject).stem)
