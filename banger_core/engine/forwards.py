"""Ports of a VM that are published and taken back while it exists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from banger_core.contracts import ForwardingMachine
from banger_core.errors import Conflict, NotFound, UsageProblem
from banger_core.model import GUEST_SSH_PORT, Forward, Publish, VmRecord, VmState
from banger_core.networks.loopback import check_port
from banger_core.plan.limits import check_ports

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

USER_KIND = "user"


def published(record: VmRecord) -> list[Forward]:
    """The ports that a VM publishes, but for the one of its SSH server."""
    return [each for each in record.plan.net.forwards if each.guest_port != GUEST_SSH_PORT]


async def publish(engine: Engine, ref: str, wanted: Publish) -> VmRecord:
    """Publish a port of a VM: at once when it runs, and at every start from now on.

    Raises Conflict when the port is taken, HostNotReady when this user may not have it, and
    UsageProblem where VM or network cannot do it.
    """
    check_ports([wanted])
    found = engine.records.vm(ref)
    async with engine.machines.locked(found.id):
        record = _changeable(engine, found.id)
        forward = wanted.at(record.plan.net.host_address)
        for other in record.plan.net.forwards:
            if (other.host_port, other.protocol) == (wanted.host_port, wanted.protocol):
                raise _taken(record, other)
        again = f"banger net forward add {record.name} {{free}}:{{guest}}"
        check_port(forward.host_address, wanted, again)
        # Recorded first: a port that listens and that nobody knows of is worse than the reverse
        after = _with(engine, record, (*record.plan.net.forwards, forward))
        machine = engine.machines.machine(record.id)
        if machine is not None:
            try:
                await _forwarding(record, machine).add_forward(forward)
            except BaseException:
                engine.machines.update(record)
                raise
        return after


async def unpublish(engine: Engine, ref: str, host_port: int, protocol: str) -> VmRecord:
    """Take a published port back, at once and for good. Raises NotFound with those there are."""
    found = engine.records.vm(ref)
    async with engine.machines.locked(found.id):
        record = _changeable(engine, found.id)
        gone = [
            each
            for each in published(record)
            if (each.host_port, each.protocol) == (host_port, protocol)
        ]
        if not gone:
            raise NotFound(
                f"published port of {record.name}",
                f"{host_port}/{protocol}",
                [f"{each.host_port}/{each.protocol}" for each in published(record)],
                hints=[f"banger net forward list {record.name}"],
            )
        machine = engine.machines.machine(record.id)
        if machine is not None:
            await _forwarding(record, machine).remove_forward(gone[0])
        left = tuple(each for each in record.plan.net.forwards if each != gone[0])
        return _with(engine, record, left)


def _changeable(engine: Engine, vm_id: str) -> VmRecord:
    record = engine.records.vm(vm_id)
    if record.state not in (VmState.RUNNING, VmState.PAUSED, VmState.STOPPED, VmState.FAILED):
        raise Conflict(f"{record.name} is {record.state}", hints=[f"banger vm show {record.name}"])
    if record.plan.net.kind != USER_KIND:
        raise UsageProblem(
            f"the network {record.plan.net.network} of {record.name} publishes no ports",
            cause="the machine has an address that is reached as it is",
            hints=[f"banger vm show {record.name}"],
        )
    return record


def _with(engine: Engine, record: VmRecord, forwards: tuple[Forward, ...]) -> VmRecord:
    net = replace(record.plan.net, forwards=forwards)
    return engine.machines.update(replace(record, plan=replace(record.plan, net=net)))


def _forwarding(record: VmRecord, machine: object) -> ForwardingMachine:
    if isinstance(machine, ForwardingMachine):
        return machine
    raise UsageProblem(
        f"the driver {record.plan.driver} publishes ports only when a machine starts",
        cause=f"{record.name} runs",
        hints=[f"banger vm stop {record.name}"],
    )


def _taken(record: VmRecord, other: Forward) -> Conflict:
    ssh = other.guest_port == GUEST_SSH_PORT
    return Conflict(
        f"{other.protocol} port {other.host_port} of {record.name} is published already",
        cause="it leads to banger's SSH server" if ssh else f"it leads to {other.guest_port}",
        hints=[f"banger net forward list {record.name}"],
    )
