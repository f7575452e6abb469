"""Snapshots of VMs: made, and deleted."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.contracts import RestoringDriver
from banger_core.engine.build import boot_kernel
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.operations import Operation, in_thread
from banger_core.engine.snapshot_files import describe, write_manifest
from banger_core.engine.standstill import allocated, saved_machine, take
from banger_core.errors import Conflict, HostNotReady
from banger_core.model import VmRecord
from banger_core.plan.limits import check_space
from banger_core.plan.names import check_snapshot_name, make_id
from banger_core.snapmodel import SnapshotRecord

if TYPE_CHECKING:
    from banger_core.contracts import SavedMachine
    from banger_core.engine.engine import Engine

BEFORE_RECORD = register("snapshot.before_record", "a snapshot is whole and not recorded")
FORGOTTEN = register("snapshot.after_forget", "a snapshot is not recorded any more, its files are")


async def create_snapshot(
    engine: Engine, ref: str, name: str, operation: Operation
) -> tuple[VmRecord, SnapshotRecord]:
    """Keep memory and disks of a VM as they are now, as ``name`` (empty: one is made up). The VM
    goes on as it was. On any failure nothing of the snapshot is left.

    Raises Conflict when the VM does not run or has a snapshot of that name, NoSpace before
    anything stands still, UsageProblem, and what the driver raises.
    """
    async with engine.machines.holding(ref) as record:
        machine = saved_machine(engine, record)
        name = _new_name([each.name for each in engine.snapshots.of(record.id)], name)
        check_copies(engine, record, copies=1)
        needs = await needs_of(engine, record, machine, operation)
        async with snapshot_directory(engine) as directory:
            operation.step(f"keeping memory and disks of {record.name}")
            await take(engine, record, machine, directory, operation)
            operation.mark("taken")
            files = await in_thread(
                operation, partial(describe, directory, partial(operation.progress, "writing"))
            )
            snapshot = replace(_described(record, name, directory.name), needs=needs, files=files)
            await in_thread(operation, partial(write_manifest, directory, snapshot))
            await afailpoint(BEFORE_RECORD)
            engine.snapshots.add(snapshot)
        engine.events.publish(
            "vm.snapshot", vm=record.id, operation=operation.id, name=record.name, snapshot=name
        )
        return record, snapshot


async def delete_snapshots(
    engine: Engine, ref: str, names: Sequence[str], operation: Operation
) -> VmRecord:
    """Delete snapshots of a VM. Raises NotFound, and then none is deleted."""
    async with engine.machines.holding(ref) as record:
        going = [engine.snapshots.one(record.id, name) for name in dict.fromkeys(names)]
        operation.step(f"deleting {len(going)} snapshots of {record.name}")
        await _delete(engine, going)
        return record


async def delete_all(engine: Engine, vm_id: str, operation: Operation | None) -> None:
    """Delete what there is of a VM that goes, and say so."""
    going = engine.snapshots.of(vm_id)
    if going and operation is not None:
        names = ", ".join(each.name for each in going)
        operation.notice(f"its snapshots are deleted, too: {names}")
    await _delete(engine, going)


async def _delete(engine: Engine, going: Iterable[SnapshotRecord]) -> None:
    for snapshot in going:
        engine.snapshots.remove(snapshot.id)
        await afailpoint(FORGOTTEN)
        await engine.effects.undo(owner(snapshot.id))


def owner(snapshot_id: str) -> str:
    """Return whose the effects of a snapshot are."""
    return f"snapshot-{snapshot_id}"


@asynccontextmanager
async def snapshot_directory(engine: Engine, *, keep: bool = True) -> AsyncIterator[Path]:
    """Give the new directory of a snapshot, named by its id. Leaving by an error removes it, and
    so does leaving at all unless it is to be kept.
    """
    snapshot_id = make_id()
    directory = engine.paths.snapshots / snapshot_id
    try:
        await engine.effects.make_directory(owner(snapshot_id), "directory", directory)
        yield directory
    except BaseException:
        await engine.effects.undo(owner(snapshot_id))
        raise
    if not keep:
        await engine.effects.undo(owner(snapshot_id))


def check_copies(engine: Engine, record: VmRecord, *, copies: int) -> None:
    """Raise NoSpace when the state has no room for the memory of a VM and ``copies`` of its disks.
    Blocks that are shared, and memory that is empty, take less.
    """
    disks = allocated(record.plan, engine.paths.vm_state(record.id))
    check_space(
        engine.paths.state,
        record.plan.memory + copies * disks,
        f"memory and disks of {record.name}",
        where="banger vm snapshot list",
    )


async def needs_of(
    engine: Engine, record: VmRecord, machine: SavedMachine, operation: Operation
) -> Mapping[str, str]:
    """Return what must be equal where a VM that runs is to go on."""
    return {**await machine.needs(), **await _own_needs(engine, record, operation)}


async def check_needs(
    engine: Engine, record: VmRecord, needs: Mapping[str, str], what: str, operation: Operation
) -> None:
    """Raise HostNotReady when ``what`` cannot go on as the VM ``record``, here and now."""
    name = record.plan.driver
    driver = engine.registry.vmm_drivers.load(name)
    if not isinstance(driver, RestoringDriver):
        raise HostNotReady(f"{what} cannot go on", cause=f"the driver {name} restores nothing")
    starter = engine.machines.starter
    spec, _ = await starter.spec(record, await starter.places(record, operation), operation)
    offers = await driver.offers(spec, engine.context(name, operation))
    here = {**offers, **await _own_needs(engine, record, operation)}
    wrong = [
        f"it needs {key} {needs.get(key, 'unknown')}, here is {here.get(key, 'none')}"
        for key in {**needs, **here}
        if needs.get(key) != here.get(key)
    ]
    if wrong:
        raise HostNotReady(
            f"{what} cannot go on here",
            cause="; ".join(wrong),
            hints=["nothing was started or changed"],
        )


async def _own_needs(engine: Engine, record: VmRecord, operation: Operation) -> Mapping[str, str]:
    image = engine.records.image(record.image_id)
    kernel, _ = boot_kernel(engine.paths.vm_state(record.id), image)
    digest = await in_thread(operation, partial(_digest, kernel.vmlinux))
    return {"driver": record.plan.driver, "kernel": digest}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _described(record: VmRecord, name: str, snapshot_id: str) -> SnapshotRecord:
    plan = record.plan
    return SnapshotRecord(
        id=snapshot_id,
        name=name,
        vm_id=record.id,
        created_at=time.time(),
        driver=plan.driver,
        vcpu=plan.vcpu,
        memory=plan.memory,
        disk_format=plan.disk_format,
        disk_size=plan.disk_size,
        work_disk=plan.work_disk,
        grown=record.grown,
    )


def _new_name(taken: Sequence[str], wanted: str) -> str:
    if not wanted:
        return next(
            name for number in range(1, len(taken) + 2) if (name := f"s{number}") not in taken
        )
    check_snapshot_name(wanted)
    if wanted in taken:
        raise Conflict(
            f"there is a snapshot named {wanted} already",
            cause="the snapshots of a machine have different names",
            hints=["banger vm snapshot list", "choose another name"],
        )
    return wanted
