"""Make the host agree with the records: at start-up, and on a timer.

Whatever a daemon that died was in the middle of is finished or undone; VMs that still run are
adopted; what belongs to no record is removed.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.engine import process
from banger_core.engine.image_register import abandon_promotion
from banger_core.engine.snapshots import owner
from banger_core.engine.trees import remove_tree
from banger_core.errors import BangerError
from banger_core.model import VmRecord, VmState
from banger_core.netcontract import HostNetwork
from banger_core.store.content import sweep

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

INTERVAL = 5.0
"""Seconds between two looks at the host."""

_AT_REST = (VmState.RUNNING, VmState.PAUSED, VmState.STOPPED, VmState.FAILED)

log = logging.getLogger("banger.engine")


class Reconciler:
    """Reconciles one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._doubtful: set[tuple[str, VmState]] = set()

    async def at_start(self) -> None:
        """Settle everything that an earlier daemon left. Nothing else runs yet."""
        for record in self._engine.records.vms():
            try:
                await self._settle(record)
            except BangerError as problem:
                log.warning("could not settle VM %s: %s", record.name, problem)
        for image in self._engine.records.images():
            abandon_promotion(image)
        await self.remove_unrecorded()

    async def _settle(self, record: VmRecord) -> None:
        machines = self._engine.machines
        if record.state in (VmState.CREATING, VmState.DELETING):
            await machines.drop(record)
            return
        if record.state is VmState.STARTING:
            await machines.end(record, "its start was interrupted")
        elif record.state is VmState.STOPPING:
            await machines.end(record, "")
        await machines.settle_disks(record)
        if record.state in (VmState.RUNNING, VmState.PAUSED):
            if record.process is not None and process.alive(record.process):
                await machines.adopt(record)
            else:
                await machines.end(record, "the VM ended while no daemon was watching")

    def unrecorded(self) -> list[str]:
        """Name what is here and belongs to no record, as long as no operation is at something."""
        owners, directories = self._unrecorded()
        begun = [f"what was begun for {each}" for each in sorted(owners)]
        return begun + [str(directory) for directory in directories]

    def _unrecorded(self) -> tuple[set[str], list[Path]]:
        """Return owners of intents, and directories, that nothing knows."""
        engine = self._engine
        known = {record.id for record in engine.records.vms()}
        known |= {f"image-{image.id}" for image in engine.records.images()}
        known |= {owner(snapshot.id) for snapshot in engine.snapshots.all()}
        state = engine.paths.state
        shelves = {
            engine.paths.runtime / "vms": "",
            state / "vms": "",
            state / "images": "image-",
            state / "snapshots": "snapshot-",
        }
        owners = {intent.vm_id for intent in engine.intents.all()} - known
        return owners, [
            directory
            for shelf, prefix in shelves.items()
            for directory in _children(shelf)
            if f"{prefix}{directory.name}" not in known
        ]

    async def remove_unrecorded(self) -> None:
        """Undo intents without a record, then remove directories that nothing knows. Nothing else
        may be under way.
        """
        engine = self._engine
        for each in self._unrecorded()[0]:
            try:
                await engine.effects.undo(each)
            except BangerError as problem:
                log.warning("could not remove what is left of %s: %s", each, problem)
        await self._sweep_networks({record.id for record in engine.records.vms()})
        for directory in self._unrecorded()[1]:
            if directory.parent == engine.paths.runtime / "vms":
                await self._end_orphan(directory)
            else:
                remove_tree(directory)
        remove_tree(engine.paths.state / "incoming")
        for written in (engine.paths.state, engine.paths.ssh, engine.paths.ssh / "vms"):
            sweep(written)

    async def _sweep_networks(self, vms: set[str]) -> None:
        engine = self._engine
        for name in engine.registry.networks.names():
            try:
                network = engine.registry.networks.load(name)
                if isinstance(network, HostNetwork):
                    await network.sweep(vms, engine.context(name))
            except BangerError as problem:
                log.warning("could not look for what is left on network %s: %s", name, problem)

    async def _end_orphan(self, runtime: Path) -> None:
        """A directory named by a VM's id, without a record: the database was lost or restored."""
        import signal

        for directory in (runtime, *_children(runtime)):
            if directory.is_dir() and (found := process.recorded(directory)):
                process.signal(found, signal.SIGKILL)
                await process.wait_gone(found)
        remove_tree(runtime)

    async def on_timer(self) -> None:
        """Look again every few seconds, for ever."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.finish()
                await self.expire()
                await self._engine.ssh.refresh()
                await self._engine.services.tend()
            except BangerError as problem:
                log.warning("reconcile: %s", problem)

    async def finish(self) -> None:
        """Settle VMs that are on their way since the last look, and that no operation is at any
        more: its undoing failed, for want of space perhaps.
        """
        doubtful: set[tuple[str, VmState]] = set()
        for record in self._engine.records.vms():
            if record.state in _AT_REST or self._engine.machines.busy(record.id):
                continue
            doubtful.add((record.id, record.state))
            if (record.id, record.state) in self._doubtful:
                await self._finish(record)
        self._doubtful = doubtful

    async def _finish(self, record: VmRecord) -> None:
        engine = self._engine
        async with engine.machines.locked(record.id):
            try:
                if engine.records.vm(record.id).state is record.state:
                    log.info("settling %s, which was left %s", record.name, record.state)
                    await self._settle(record)
            except BangerError as problem:
                log.warning("could not settle VM %s: %s", record.name, problem)

    async def expire(self) -> None:
        """Delete ephemeral VMs whose asking process is gone."""
        for record in self._engine.records.vms():
            lease = record.plan.lease
            if record.plan.ephemeral and lease is not None and not process.alive(lease):
                await self._expire(record)

    async def _expire(self, record: VmRecord) -> None:
        engine = self._engine
        if engine.machines.busy(record.id):
            return
        log.info("deleting %s: the command that wanted it is gone", record.name)
        operation = engine.operations.start(
            f"deleting {record.name}",
            lambda operation: engine.machines.delete(record.id, operation, force=True),
        )
        log.debug("operation %s", operation.id)


def _children(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []
