"""Memory and disks of a VM at one moment: it stands still while they are copied."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.config.paths import secure_dir
from banger_core.contracts import SavedMachine
from banger_core.engine.build import disk_path, work_disk_path
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.helpers import set_clock
from banger_core.engine.operations import Operation, in_thread
from banger_core.engine.snapshot_files import VMM
from banger_core.engine.ssh import remove_note
from banger_core.errors import BangerError, Conflict, UsageProblem
from banger_core.model import VmPlan, VmRecord, VmState
from banger_core.rootfs.disks import copy_sparse
from banger_core.store.content import create_private, room_in, sync_file

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

PAUSED = register("snapshot.after_pause", "a VM stands still to be copied, nothing is written")
COPIED = register("snapshot.after_copy", "memory and disks are copied, the VM still stands still")


def saved_machine(engine: Engine, record: VmRecord, feature: str = "snapshot") -> SavedMachine:
    """Return the machine of a VM whose memory can be saved, by a driver with ``feature``. Raises
    Conflict when it does not run, UsageProblem when its driver cannot.
    """
    machine = engine.machines.machine(record.id)
    if record.state not in (VmState.RUNNING, VmState.PAUSED) or machine is None:
        raise Conflict(
            f"{record.name} is {record.state}",
            cause="only a machine that runs or is paused has a memory to keep",
            hints=[f"banger vm start {record.name}"],
        )
    features = engine.registry.vmm_drivers.declared(record.plan.driver).features
    if feature not in features or not isinstance(machine, SavedMachine):
        able = engine.registry.vmm_drivers
        others = [name for name in able.names() if feature in able.declared(name).features]
        raise UsageProblem(
            f"{record.name} can have no {feature}",
            cause=f"its driver {record.plan.driver} offers none",
            hints=[f"--driver {name}, for a new machine" for name in others],
        )
    return machine


async def take(
    engine: Engine, record: VmRecord, machine: SavedMachine, into: Path, operation: Operation
) -> None:
    """Copy memory and disks of a VM into the directory ``into``; nothing there is durable yet.
    The VM goes on as it was, whatever happens.
    """
    directory = engine.paths.vm_state(record.id)
    vmm = secure_dir(into / VMM)
    async with _standing_still(engine, record, machine):
        await afailpoint(PAUSED)
        await machine.snapshot(vmm)
        await in_thread(operation, partial(copy_disks, record.plan, directory, into))
        await afailpoint(COPIED)
    if record.state is VmState.RUNNING:
        try:
            await set_clock(engine.machines.helpers.of(record))
        except BangerError as problem:
            operation.notice(f"the clock of {record.name} may be late: {problem.cause}")


@asynccontextmanager
async def _standing_still(
    engine: Engine, record: VmRecord, machine: SavedMachine
) -> AsyncIterator[None]:
    if record.state is VmState.PAUSED:
        yield
        return
    # A daemon that finds it lets the VM go on
    intent = engine.intents.begin(record.id, "standstill", record.name)
    try:
        await machine.pause()
        yield
    finally:
        await _go_on(engine, record, machine)
        engine.intents.remove(intent)


async def _go_on(engine: Engine, record: VmRecord, machine: SavedMachine) -> None:
    try:
        await machine.resume()
    except BangerError:
        # It stands still, so that is what is said: ``vm resume`` tries again
        engine.machines.update(replace(record, state=VmState.PAUSED))
        remove_note(engine.paths, record.name)
        raise


def copy_disks(plan: VmPlan, source: Path, target: Path, *, durable: bool = False) -> None:
    """Copy the disks of a VM between two directories, by sharing blocks where the file system
    can. Blocks. Raises NoSpace.
    """
    for disk in disks_of(plan, source):
        copy = target / disk.name
        with room_in(target):
            os.close(create_private(copy))
            copy_sparse(disk, copy)
            if durable:
                sync_file(copy)


def disks_of(plan: VmPlan, directory: Path) -> Iterator[Path]:
    """The disks in a VM's, or a snapshot's, directory."""
    yield disk_path(directory, plan)
    if work := work_disk_path(directory, plan):
        yield work


def allocated(plan: VmPlan, directory: Path) -> int:
    """Return how many bytes the disks in ``directory`` take."""
    total = 0
    for disk in disks_of(plan, directory):
        with suppress(FileNotFoundError):
            total += disk.stat().st_blocks * 512
    return total
