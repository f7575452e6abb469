"""A VM goes back to a snapshot."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.config.paths import secure_dir
from banger_core.engine.awaken import Saved
from banger_core.engine.effects import SWAP_KINDS
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.machines import first_line
from banger_core.engine.operations import Operation, in_thread
from banger_core.engine.shutdown import SYNC_GRACE
from banger_core.engine.snapshot_files import VMM, check
from banger_core.engine.snapshots import check_needs
from banger_core.engine.standstill import allocated, copy_disks
from banger_core.engine.swap import BEFORE, COMING, forget_before, swap_in
from banger_core.errors import BangerError, Conflict
from banger_core.jsonable import to_json
from banger_core.model import SshTarget, VmRecord, VmState
from banger_core.plan.limits import check_space
from banger_core.snapmodel import SnapshotRecord

if TYPE_CHECKING:
    from banger_core.contracts import Machine
    from banger_core.engine.engine import Engine

AFTER_COPY = register("restore.after_copy", "disks of a snapshot are beside those of a VM")
AFTER_SWAP = register("restore.after_swap", "a VM has ended and has the disks of a snapshot")
BEFORE_FORGET = register("restore.before_forget", "a VM went back, its former disks are there")


async def restore_snapshot(
    engine: Engine, ref: str, name: str, operation: Operation
) -> tuple[VmRecord, SshTarget]:
    """Have a VM go on where its snapshot ``name`` was taken, with the memory, CPUs and disks of
    then; its address, its ports and its labels stay.

    Everything is checked and copied before the VM, where it runs, is ended. When it then does not
    go on, it is stopped and has the disks that it had. Raises NotFound, IntegrityError for a
    snapshot that is not what was written, HostNotReady where it does not fit, NoSpace.
    """
    machines = engine.machines
    async with machines.holding(ref) as record:
        snapshot = engine.snapshots.one(record.id, name)
        _check_state(record)
        source = engine.paths.snapshots / snapshot.id
        wanted = _as_it_was(record, snapshot)
        operation.step(f"checking the snapshot {name}")
        await in_thread(
            operation, partial(check, source, snapshot, partial(operation.progress, "checking"))
        )
        await check_needs(engine, wanted, snapshot.needs, f"the snapshot {name}", operation)
        over = record.state in (VmState.STOPPED, VmState.FAILED)
        try:
            intent = await _copy(engine, record, wanted, source, operation)
            await afailpoint(AFTER_COPY)
            if not over:
                over = True
                await _end(engine, record, machines.machine(record.id), operation)
            wanted = machines.update(
                replace(wanted, state=VmState.STARTING, problem="", process=None, launch=None)
            )
            await in_thread(operation, partial(swap_in, engine.paths.vm_state(record.id)))
            await afailpoint(AFTER_SWAP)
            wanted, target = await machines.wake(
                wanted, Saved(directory=source / VMM, new=False), operation
            )
        except BaseException as problem:
            if over:
                await machines.end(replace(record, problem=""), first_line(problem))
            await engine.effects.undo(record.id, SWAP_KINDS, operation)
            if not over and record.state is VmState.RUNNING:
                await engine.masters.begin(record)
            raise
        engine.intents.done(intent)
        await afailpoint(BEFORE_FORGET)
        await in_thread(operation, partial(forget_before, engine.paths.vm_state(record.id)))
        engine.intents.remove(intent)
        engine.events.publish(
            "vm.restored", vm=record.id, operation=operation.id, name=record.name, snapshot=name
        )
        return wanted, target


def _check_state(record: VmRecord) -> None:
    if record.state not in (VmState.RUNNING, VmState.PAUSED, VmState.STOPPED, VmState.FAILED):
        raise Conflict(f"{record.name} is {record.state}", hints=[f"banger vm show {record.name}"])


def _as_it_was(record: VmRecord, snapshot: SnapshotRecord) -> VmRecord:
    plan = replace(
        record.plan,
        vcpu=snapshot.vcpu,
        memory=snapshot.memory,
        disk_format=snapshot.disk_format,
        disk_size=snapshot.disk_size,
        work_disk=snapshot.work_disk,
    )
    return replace(record, plan=plan, grown=snapshot.grown)


async def _copy(
    engine: Engine, record: VmRecord, wanted: VmRecord, source: Path, operation: Operation
) -> int:
    """Copy the snapshot's disks beside the VM's; returns the intent by which they go again."""
    directory = engine.paths.vm_state(record.id)
    # An earlier way back may have failed to remove what was not needed any more
    await engine.machines.settle_disks(record)
    check_space(
        directory,
        allocated(wanted.plan, source),
        f"the disks of {record.name} as they were",
        where="banger vm snapshot list",
    )
    data = {"vm": to_json(replace(record, launch=None))}
    intent = engine.intents.begin(record.id, "disks", str(directory), data)
    operation.step(f"copying the disks of {record.name}")
    coming = secure_dir(directory / COMING)
    secure_dir(directory / BEFORE)
    await in_thread(operation, partial(copy_disks, wanted.plan, source, coming, durable=True))
    return intent


async def _end(
    engine: Engine, record: VmRecord, machine: Machine | None, operation: Operation
) -> None:
    """End a VM that is to go back. Its guest writes back what it can: its disks may be wanted."""
    operation.step(f"ending {record.name}")
    if machine is not None:
        with suppress(BangerError):
            if record.state is VmState.PAUSED:
                await machine.resume()
            await machine.stop(SYNC_GRACE)
    await engine.machines.ended_now(record, operation)
