"""Copies of a VM that run: each goes on where it was, as a machine of its own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.engine.awaken import Saved
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.operations import Operation, in_thread
from banger_core.engine.snapshot_files import VMM
from banger_core.engine.snapshots import check_copies, check_needs, needs_of, snapshot_directory
from banger_core.engine.standstill import copy_disks, saved_machine, take
from banger_core.errors import BangerError, GuestFailed, UsageProblem
from banger_core.model import GUEST_SSH_PORT, SshTarget, VmPlan, VmRecord, VmRequest, VmState
from banger_core.netcontract import HoldingNetwork, HostNetwork
from banger_core.plan.links import with_links
from banger_core.plan.names import check_name, make_id, numbered_names
from banger_core.plan.resolve import check_request

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

AFTER_RECORD = register("fork.after_record", "copies are recorded, nothing of them is there")
AFTER_TAKE = register("fork.after_take", "memory and disks of a VM are there for its copies")
AFTER_BUILD = register("fork.after_build", "a copy has its disks and its host key")

Done = list[tuple[VmRecord, SshTarget]]


async def fork(engine: Engine, ref: str, count: int, name: str, operation: Operation) -> Done:
    """Make ``count`` copies of a VM that runs or is paused; they run. Each has disks of its own,
    and an identity of its own before anybody reaches it. The VM goes on as it was.

    One copy is called ``name``, several, or an unnamed one, get numbers behind it, or behind the
    VM's own. On any failure there is none. Raises GuestFailed when a guest does not become another,
    and what ``create_snapshot`` raises.
    """
    async with engine.machines.holding(ref) as origin:
        machine = saved_machine(engine, origin, "fork")
        # Nothing else reaches a copy that is unplugged
        engine.machines.helpers.of(origin)
        await _check_network(engine, origin, operation)
        needs = await needs_of(engine, origin, machine, operation)
        await check_needs(engine, origin, needs, f"a copy of {origin.name}", operation)
        check_copies(engine, origin, copies=count + 1)
        copies: list[VmRecord] = []
        async with AsyncExitStack() as stack:
            try:
                for copy in _planned(engine, origin, count, name):
                    engine.records.add_vm(copy)
                    copies.append(copy)
                    await stack.enter_async_context(engine.machines.locked(copy.id))
                await afailpoint(AFTER_RECORD)
                async with snapshot_directory(engine, keep=False) as source:
                    operation.step(f"copying memory and disks of {origin.name}")
                    await take(engine, origin, machine, source, operation)
                    operation.mark("taken")
                    await afailpoint(AFTER_TAKE)
                    done = [
                        await _begin(engine, origin, copy, source, operation) for copy in copies
                    ]
            except BaseException as problem:
                await _drop(engine, copies)
                if isinstance(problem, GuestFailed):
                    raise _explained(problem, origin.name) from problem
                raise
        names = [copy.name for copy in copies]
        engine.events.publish("vm.forked", vm=origin.id, operation=operation.id, copies=names)
        return done


async def _check_network(engine: Engine, origin: VmRecord, operation: Operation) -> None:
    name = origin.plan.net.network
    network = engine.registry.networks.load(name)
    if origin.plan.net.kind == "tap" and not isinstance(network, HoldingNetwork):
        raise UsageProblem(
            f"{origin.name} cannot be copied",
            cause=f"its network {name} cannot keep a copy cut off until that is another machine",
            hints=["--network user, for a new machine"],
        )
    if isinstance(network, HostNetwork):
        await network.check(_wish(origin.plan), engine.context(name, operation))


def _planned(engine: Engine, origin: VmRecord, count: int, name: str) -> Iterator[VmRecord]:
    """What the copies are to be. Each is to be recorded before the next is asked for."""
    existing = engine.records.vms()
    if name and count == 1:
        check_request(VmRequest(name=name), existing)
        names = [name]
    else:
        check_name(name or origin.name)
        names = numbered_names(name or origin.name, count, {vm.name for vm in existing})
    for each in names:
        plan = _another(engine, origin.plan, each)
        yield replace(
            origin,
            plan=plan,
            state=VmState.CREATING,
            created_at=time.time(),
            started_at=None,
            process=None,
            launch=None,
            host_key="",
            image_host_keys=(),
            accel="",
        )


def _another(engine: Engine, plan: VmPlan, name: str) -> VmPlan:
    vm_id, network = make_id(), plan.net.network
    net = engine.registry.networks.load(network).plan(
        vm_id,
        _wish(plan),
        [vm.plan.net for vm in engine.records.vms()],
        engine.settings.plugin(network),
    )
    net = replace(net, links=with_links(plan.net, engine.records.vms()).links)
    return replace(plan, id=vm_id, name=name, net=net, ephemeral=False, lease=None)


def _wish(plan: VmPlan) -> VmRequest:
    """What a network would have been asked for."""
    forwards = [each for each in plan.net.forwards if each.guest_port != GUEST_SSH_PORT]
    return VmRequest(
        publish=tuple(each.publish for each in forwards),
        nat=plan.net.outbound,
        host_access=plan.net.host_access,
    )


async def _begin(
    engine: Engine, origin: VmRecord, copy: VmRecord, source: Path, operation: Operation
) -> tuple[VmRecord, SshTarget]:
    """Build a copy and have it go on from what was saved in ``source``."""
    machines, directory = engine.machines, engine.paths.vm_state(copy.id)
    await engine.effects.make_directory(copy.id, "directory", directory)
    host_key = await machines.builder.host_key(directory, operation)
    former = engine.paths.vm_state(origin.id)
    await in_thread(operation, partial(_fill, origin.plan, former, source, directory))
    copy = machines.update(replace(copy, host_key=host_key))
    await afailpoint(AFTER_BUILD)
    return await machines.wake(copy, Saved(directory=source / VMM, new=True), operation)


def _fill(plan: VmPlan, former: Path, source: Path, directory: Path) -> None:
    copy_disks(plan, source, directory, durable=True)
    # A VM with another kernel than its image's has a copy of its own
    if (former / "kernel").is_dir():
        shutil.copytree(former / "kernel", directory / "kernel", symlinks=True)


async def _drop(engine: Engine, copies: list[VmRecord]) -> None:
    for copy in copies:
        # What cannot be undone now is when the next daemon starts
        with suppress(BangerError):
            await engine.machines.drop(copy)


def _explained(problem: GuestFailed, origin: str) -> GuestFailed:
    return GuestFailed(
        f"{origin} was not copied: {problem.summary}",
        cause=problem.cause,
        hints=[
            "no copy was kept",
            f"banger vm restart {origin}, when an older banger started it, and fork it again",
        ],
    )
