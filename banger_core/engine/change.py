"""What of a VM can be changed after it was made."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from banger_core.engine.build import disk_path
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.live import can_change, finish_change, meant, tell_network
from banger_core.engine.operations import Operation, in_thread
from banger_core.engine.relink import Relinked, find_others
from banger_core.engine.startup import fit_disks
from banger_core.errors import Conflict, UsageProblem
from banger_core.model import VmRecord, VmRequest, VmState
from banger_core.plan.limits import check_growth, check_memory, check_vcpu
from banger_core.rootfs.qcow2 import overlay_room
from banger_core.sizes import format_size, size_argument

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

SET_SAID = register("set.after_record", "a VM is recorded as changed, its disks are as they were")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What shall be different; None stays. Sizes in bytes. ``link`` and ``unlink`` are references
    to other VMs. ``labels`` are added or replaced, ``unlabel`` removes.
    """

    vcpu: int | None = None
    memory: int | None = None
    disk_size: int | None = None
    work_disk: int | None = None
    nat: bool | None = None
    link: tuple[str, ...] = ()
    unlink: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    unlabel: tuple[str, ...] = ()


async def change(engine: Engine, ref: str, wanted: Change, operation: Operation) -> VmRecord:
    """Change a VM, all of it or nothing.

    Raises Conflict for what needs a stopped VM when it is not, UsageProblem for what is impossible
    and NoSpace for a disk that cannot grow.
    """
    found = engine.records.vm(ref)
    # By id: while this waits, another VM may be given the name of one that goes
    link, unlink = (
        tuple(vm.id for vm in find_others(engine, found, refs))
        for refs in (wanted.link, wanted.unlink)
    )
    async with engine.machines.all_locked([found.id, *link, *unlink]):
        record = engine.records.vm(found.id)
        relinked = Relinked.of(engine, record, link, unlink)
        after = _changed(engine, record, wanted, relinked.links)
        if after == record and not relinked.others:
            operation.notice(f"{record.name} is like that already")
            return record
        _check_state(engine, record, after, relinked)
        _warn_of_space(engine, record, after, operation)
        await _make_it_so(engine, record, after, relinked, operation)
        for changed in (record, *relinked.others):
            engine.events.publish(
                "vm.changed", vm=changed.id, operation=operation.id, name=changed.name
            )
        return after


async def _make_it_so(
    engine: Engine, record: VmRecord, after: VmRecord, relinked: Relinked, operation: Operation
) -> None:
    """Record it, fit the disks and tell the network of a VM that runs."""
    reaches = record.plan.net != after.plan.net or bool(relinked.others)
    live = reaches and can_change(engine, record)
    with meant(engine, record) if live else nullcontext():
        engine.records.update_vms([after, *relinked.after])
        try:
            await afailpoint(SET_SAID)
            directory = engine.paths.vm_state(record.id)
            await in_thread(operation, partial(fit_disks, after, directory))
            if live:
                await tell_network(engine, after, operation)
        except BaseException:
            # A disk that has grown meanwhile does no harm
            engine.records.update_vms([record, *relinked.others])
            await finish_change(engine, record)
            raise


def _changed(engine: Engine, record: VmRecord, wanted: Change, links: tuple[str, ...]) -> VmRecord:
    plan = record.plan
    net = replace(plan.net, links=links)
    values: dict[str, Any] = {}
    if wanted.vcpu is not None:
        values["vcpu"] = check_vcpu(wanted.vcpu)
    if wanted.memory is not None:
        values["memory"] = check_memory(wanted.memory)
    if wanted.nat is not None:
        net = replace(net, outbound=_outbound(engine, record, nat=wanted.nat))
    values["net"] = net
    labels = {**plan.labels, **wanted.labels}
    values["labels"] = {key: labels[key] for key in labels if key not in wanted.unlabel}
    grown = _grown(engine, record, wanted)
    values |= grown
    names = {"disk_size": "root", "work_disk": "work"}
    known = tuple(sorted({*record.grown, *(names[key] for key in grown)}))
    return replace(record, plan=replace(plan, **values), grown=known)


def _grown(engine: Engine, record: VmRecord, wanted: Change) -> dict[str, int]:
    """The sizes of the disks that shall be larger."""
    plan, directory = record.plan, engine.paths.vm_state(record.id)
    found = {}
    if wanted.disk_size is not None:
        size = check_growth("disk", plan.disk_size, wanted.disk_size, directory)
        disk = disk_path(directory, plan)
        if plan.disk_format == "qcow2" and size > (room := overlay_room(disk)):
            raise UsageProblem(
                f"the disk of {record.name} cannot become {format_size(size)}",
                cause=f"it was made to grow to {format_size(room)}",
                hints=[f"banger vm set {record.name} --disk-size {size_argument(room)}"],
            )
        found["disk_size"] = size
    if wanted.work_disk is not None:
        if not plan.work_disk:
            raise UsageProblem(
                f"{record.name} has no work disk",
                cause="a machine gets one when it is made",
                hints=["banger vm create --work-disk SIZE"],
            )
        found["work_disk"] = check_growth("work-disk", plan.work_disk, wanted.work_disk, directory)
    return {key: size for key, size in found.items() if size > getattr(plan, key)}


def _warn_of_space(engine: Engine, record: VmRecord, after: VmRecord, operation: Operation) -> None:
    """Say it when the host could not give what a larger disk promises: disks are sparse."""
    old, new = record.plan, after.plan
    more = new.disk_size - old.disk_size + new.work_disk - old.work_disk
    free = shutil.disk_usage(engine.paths.vm_state(record.id)).free
    if more > free:
        operation.notice(
            f"{record.name} may write {format_size(more)} more, but only {format_size(free)} "
            "are free on this host"
        )


def _outbound(engine: Engine, record: VmRecord, *, nat: bool) -> bool:
    """What the network makes of the wish. Raises UsageProblem when it cannot fulfil it."""
    net = record.plan.net
    if net.outbound == nat:
        return nat
    network = engine.registry.networks.load(net.network)
    others = [vm.plan.net for vm in engine.records.vms() if vm.id != record.id]
    planned = network.plan(
        record.id, VmRequest(nat=nat), others, engine.settings.plugin(net.network)
    )
    if planned.outbound != nat:
        raise UsageProblem(
            f"the network {net.network} has no way {'out' if nat else 'to keep a machine in'}",
            cause=f"{record.name} is on it",
            hints=["banger net list"],
        )
    return nat


def _check_state(engine: Engine, record: VmRecord, after: VmRecord, relinked: Relinked) -> None:
    """Raise Conflict when the VM would have to be stopped for what changes."""
    if record.state in (VmState.STOPPED, VmState.FAILED):
        return
    old, new = record.plan, after.plan
    fixed = not can_change(engine, record)
    parts = {
        "--vcpu": old.vcpu != new.vcpu,
        "--memory": old.memory != new.memory,
        "--disk-size": old.disk_size != new.disk_size,
        "--work-disk": old.work_disk != new.work_disk,
        "--nat": fixed and old.net.outbound != new.net.outbound,
        "--link": fixed and old.net.links != new.net.links,
        "--unlink": fixed and bool(relinked.others),
    }
    if needing := [option for option, differs in parts.items() if differs]:
        raise Conflict(
            f"{record.name} is {record.state}",
            cause=f"{', '.join(needing)} can be changed when it is stopped; nothing was changed",
            hints=[f"banger vm stop {record.name}"],
        )
