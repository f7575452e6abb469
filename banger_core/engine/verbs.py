"""What is done to a VM that runs: paused, resumed, killed, started again."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from banger_core.engine import process
from banger_core.engine.effects import KILL_DEADLINE
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.helpers import set_clock
from banger_core.engine.ssh import remove_note, write_note
from banger_core.errors import BangerError, Conflict, GuestFailed, UsageProblem
from banger_core.model import SshTarget, VmRecord, VmState

if TYPE_CHECKING:
    from banger_core.contracts import Machine
    from banger_core.engine.engine import Engine
    from banger_core.engine.operations import Operation

PAUSE_SAID = register("pause.after_state", "a VM is said to be paused, its CPUs still run")
PAUSE_DONE = register("pause.after_vmm", "a VM's CPUs stand still, it can still be looked up")
RESUME_DONE = register("resume.after_vmm", "a VM's CPUs run, it is said to be paused")
KILL_DONE = register("kill.after_signal", "the VMM is gone, its network is still up")
RESTART_DOWN = register("restart.after_stop", "a VM is stopped and not started again")

SIGNALS = ("KILL", "TERM", "INT", "QUIT", "HUP", "ABRT")
"""What a VMM can be sent: all of them end it."""


async def pause(engine: Engine, ref: str, operation: Operation) -> VmRecord:
    """Stop the virtual CPUs of a VM that runs. Pausing a paused one changes nothing."""
    machines = engine.machines
    async with machines.holding(ref) as record:
        if record.state is VmState.PAUSED:
            operation.notice(f"{record.name} is paused already")
            return record
        machine = _machine(engine, record, VmState.RUNNING)
        _check_feature(engine, record)
        operation.step(f"pausing {record.name}")
        # Said first: a daemon that finds it said makes it so
        paused = machines.update(replace(record, state=VmState.PAUSED))
        try:
            await afailpoint(PAUSE_SAID)
            await machine.pause()
            await afailpoint(PAUSE_DONE)
        except BaseException:
            with suppress(BangerError):
                await machine.resume()
            machines.update(record)
            raise
        # Or logins would wait for nobody: without it the daemon is asked, which says why not
        remove_note(engine.paths, record.name)
        engine.events.publish("vm.paused", vm=record.id, operation=operation.id, name=record.name)
        return paused


async def resume(engine: Engine, ref: str, operation: Operation) -> tuple[VmRecord, SshTarget]:
    """Let a paused VM go on, and set its clock. Resuming one that runs changes nothing."""
    machines = engine.machines
    async with machines.holding(ref) as record:
        if record.state is VmState.RUNNING:
            operation.notice(f"{record.name} runs already")
            return record, engine.ssh_target(record)
        machine = _machine(engine, record, VmState.PAUSED)
        operation.step(f"resuming {record.name}")
        try:
            await machine.resume()
            await afailpoint(RESUME_DONE)
        except BaseException:
            with suppress(BangerError):
                await machine.pause()
            raise
        running = machines.update(replace(record, state=VmState.RUNNING))
        target = engine.ssh_target(running)
        write_note(engine.paths, target)
        engine.events.publish("vm.resumed", vm=record.id, operation=operation.id, name=record.name)
        try:
            await set_clock(machines.helpers.of(record))
        except BangerError as problem:
            operation.notice(f"the clock of {record.name} may be late: {problem.cause}")
        return running, target


async def kill(engine: Engine, ref: str, operation: Operation, name: str = "KILL") -> VmRecord:
    """Send the VMM a signal that ends it, and take down what the VM leaves on the host.

    Nothing is asked of the guest: what it has not written is lost. Raises Conflict when the VM
    does not run, and GuestFailed when its VMM survives the signal.
    """
    machines = engine.machines
    async with machines.holding(ref) as record:
        machine = _machine(engine, record, VmState.RUNNING, VmState.PAUSED)
        operation.step(f"killing {record.name}")
        machines.update(replace(record, state=VmState.STOPPING))
        try:
            process.signal(machine.process, getattr(signal, f"SIG{name}"))
            async with asyncio.timeout(KILL_DEADLINE):
                await machine.wait()
            await afailpoint(KILL_DONE)
        except TimeoutError:
            machines.update(record)
            raise GuestFailed(
                f"{record.name} survived SIG{name}",
                cause=f"process {machine.process.pid} is still there after {KILL_DEADLINE:g} s",
                hints=[f"banger vm kill {record.name}"],
            ) from None
        except BaseException as problem:
            await machines.not_stopped(record, machine, problem)
            raise
        return await machines.ended_now(record, operation)


async def restart(
    engine: Engine, ref: str, operation: Operation, *, force: bool = False
) -> tuple[VmRecord, SshTarget]:
    """Stop a VM as ``stop`` does, and start it. One that is stopped is only started."""
    machines = engine.machines
    async with machines.holding(ref) as record:
        stopped = record
        if record.state not in (VmState.STOPPED, VmState.FAILED):
            stopped = await machines.stop_held(record, operation, force=force)
            await afailpoint(RESTART_DOWN)
        return await machines.start_held(stopped, operation)


def _machine(engine: Engine, record: VmRecord, *states: VmState) -> Machine:
    machine = engine.machines.machine(record.id)
    if record.state in states and machine is not None:
        return machine
    verb = "resume" if record.state is VmState.PAUSED else "start"
    raise Conflict(
        f"{record.name} is {record.state}",
        cause=f"this takes a machine that is {' or '.join(states)}",
        hints=[f"banger vm {verb} {record.name}"],
    )


def _check_feature(engine: Engine, record: VmRecord) -> None:
    driver = record.plan.driver
    if "pause" not in engine.registry.vmm_drivers.declared(driver).features:
        raise UsageProblem(
            f"the driver {driver} cannot pause machines", hints=[f"banger vm stop {record.name}"]
        )
