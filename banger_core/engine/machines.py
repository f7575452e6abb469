"""The life of VMs: created, started, stopped and deleted, each step with its undoing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from banger_core.engine import process
from banger_core.engine.awaken import Saved, awaken
from banger_core.engine.build import VmBuilder
from banger_core.engine.effects import RUN_KINDS, SWAP_KINDS
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.helpers import Helpers
from banger_core.engine.live import finish_change
from banger_core.engine.operations import Operation, together
from banger_core.engine.shutdown import shut_down
from banger_core.engine.snapshots import delete_all
from banger_core.engine.ssh import remove_note
from banger_core.engine.ssh_image import with_image_port
from banger_core.engine.ssh_policy import overruled
from banger_core.engine.startup import VmStarter
from banger_core.errors import BangerError, Conflict, GuestFailed
from banger_core.model import (
    KernelPin,
    SshSetting,
    SshTarget,
    VmPlan,
    VmRecord,
    VmRequest,
    VmState,
)
from banger_core.netcontract import HostNetwork
from banger_core.plan.registered import check_files
from banger_core.plan.resolve import Pins, check_choices, check_request, make_plan

if TYPE_CHECKING:
    from banger_core.contracts import Machine
    from banger_core.engine.engine import Engine

STOP_ASKED = register("stop.after_shutdown", "the guest is down, its network is still up")
DELETE_BEGUN = register("delete.after_state", "a VM is marked for deletion, nothing is gone yet")
DELETE_UNDONE = register("delete.after_effects", "nothing of the VM is left but its record")


class MachineRoom:
    """All VMs of one engine: one operation at a time for each."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locks: dict[str, asyncio.Lock] = {}
        self._machines: dict[str, Machine] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self.helpers = Helpers()
        self.builder = VmBuilder(engine)
        self.starter = VmStarter(engine)

    # --- plans -------------------------------------------------------------------------------

    async def plan(self, request: VmRequest, operation: Operation) -> VmPlan:
        """Plan a VM; nothing is made. Raises for everything that can be known beforehand."""
        engine = self._engine
        check_request(request, engine.records.vms())
        check_choices(request, engine.registry, engine.settings)
        await self._check_network(request, operation)
        # Before anything is asked for: what cannot be allowed is refused at once
        ssh = engine.ssh.fold(request)
        for line in overruled(ssh):
            operation.notice(line)
        await engine.ssh.check_key(ssh, operation)
        request = with_image_port(request, ssh)
        return self._decide(request, await self._pins(request, operation), ssh)

    async def _check_network(self, request: VmRequest, operation: Operation) -> None:
        engine = self._engine
        name = request.network or engine.settings.vm.network
        network = engine.registry.networks.load(name)
        if isinstance(network, HostNetwork):
            await network.check(request, engine.context(name, operation))

    def _decide(self, request: VmRequest, pins: Pins, ssh: Mapping[str, SshSetting]) -> VmPlan:
        engine = self._engine
        return make_plan(
            request,
            pins,
            registry=engine.registry,
            settings=engine.settings,
            existing=engine.records.vms(),
            ssh=ssh,
        )

    async def _pins(self, request: VmRequest, operation: Operation) -> Pins:
        chooser = self._engine.chooser(operation)
        wanted = request.image or self._engine.settings.image.default
        image = chooser.local_image(wanted)
        if image is not None:
            check_files(image)
        if image is not None and not request.kernel:
            guest = await chooser.guest()
            return Pins(image_pin=image.pin, kernel=image.kernel, guest=guest, image=image)
        operation.step(f"resolving {wanted}")
        if image is not None:
            kernel, guest = await together(chooser.kernel(request.kernel), chooser.guest())
            return Pins(image_pin=image.pin, kernel=kernel, guest=guest, image=image)
        pin, kernel, guest, usual = await together(
            chooser.image(wanted),
            chooser.kernel(request.kernel),
            chooser.guest(),
            self._image_kernel(request, operation),
        )
        return Pins(image_pin=pin, kernel=kernel, guest=guest, image_kernel=usual)

    async def _image_kernel(self, request: VmRequest, operation: Operation) -> KernelPin | None:
        """Choose what an image gets that is made for a VM with a kernel of its own; None: that
        one, also when the usual one cannot be had.
        """
        if not request.kernel:
            return None
        try:
            return await self._engine.chooser(operation).kernel("")
        except BangerError as problem:
            operation.notice(f"the image gets kernel {request.kernel}, too: {problem.summary}")
            return None

    # --- verbs -------------------------------------------------------------------------------

    async def create(
        self, request: VmRequest, operation: Operation, *, start: bool
    ) -> tuple[VmRecord, SshTarget | None]:
        """Make a VM, and start it when asked. On any failure nothing of it is left."""
        plan = await self.plan(request, operation)
        operation.mark("planned")
        # Nothing is awaited between the plan's last choice and this, so names and addresses
        # that were free are still free
        record = VmRecord(plan=plan, state=VmState.CREATING, created_at=time.time())
        self._engine.records.add_vm(record)
        async with self._locked(plan.id):
            try:
                record = await self.builder.build(record, operation)
                operation.mark("built")
                if not start:
                    record = self.update(replace(record, state=VmState.STOPPED))
                    return record, None
                return await self._start(record, operation)
            except GuestFailed as problem:
                await self._forget(record, operation)
                raise _kept_when_started(problem, record.name) from problem
            except BaseException:
                await self._forget(record, operation)
                raise

    async def start(
        self, ref: str, operation: Operation, *, cold: bool = False
    ) -> tuple[VmRecord, SshTarget]:
        """Start a stopped VM. On any failure it is stopped again. A ``cold`` one boots."""
        async with self.holding(ref) as record:
            return await self.start_held(record, operation, cold=cold)

    async def start_held(
        self, record: VmRecord, operation: Operation, *, cold: bool = False
    ) -> tuple[VmRecord, SshTarget]:
        """``start`` for whoever is ``holding`` the VM."""
        if record.state is VmState.RUNNING:
            operation.notice(f"{record.name} is running already")
            return record, self._engine.ssh_target(record)
        _require(record, VmState.STOPPED, VmState.FAILED)
        record = self.update(replace(record, state=VmState.STARTING, problem=""))
        try:
            return await self._start(record, operation, cold=cold)
        except BaseException as problem:
            await self._engine.effects.undo(record.id, RUN_KINDS, operation)
            await self._let_go(record.id)
            self.update(_ended(record, first_line(problem)))
            raise

    async def _start(
        self, record: VmRecord, operation: Operation, *, cold: bool = False
    ) -> tuple[VmRecord, SshTarget]:
        record, machine = await self.starter.launch(record, operation, cold=cold)
        return await self._make_ready(record, machine, None, operation)

    async def wake(
        self, record: VmRecord, saved: Saved, operation: Operation
    ) -> tuple[VmRecord, SshTarget]:
        """Have a VM whose disks are there go on from ``saved``. A failure leaves what ``end`` or
        ``drop`` is to undo. For whoever keeps the VM ``locked``.
        """
        record, machine = await self.starter.launch(record, operation, saved.directory)
        return await self._make_ready(record, machine, saved, operation)

    async def _make_ready(
        self, record: VmRecord, machine: Machine, saved: Saved | None, operation: Operation
    ) -> tuple[VmRecord, SshTarget]:
        self.watch(record, machine)
        try:
            if saved is not None:
                await awaken(self._engine, record, machine, saved, operation)
            record, target = await self.starter.make_ready(record, operation)
        except BaseException:
            self._unwatch(record.id)
            raise
        await self._engine.masters.begin(record)
        operation.mark("ready")
        self._engine.events.publish(
            "vm.ready", vm=record.id, operation=operation.id, name=record.name
        )
        return record, target

    async def stop(self, ref: str, operation: Operation, *, force: bool = False) -> VmRecord:
        """Stop a VM: a clean shutdown within the configured grace, then by force.

        Its disk stays. Stopping a stopped VM changes nothing.
        """
        async with self.holding(ref) as record:
            return await self.stop_held(record, operation, force=force)

    async def stop_held(
        self, record: VmRecord, operation: Operation, *, force: bool = False
    ) -> VmRecord:
        """``stop`` for whoever is ``holding`` the VM."""
        if record.state in (VmState.STOPPED, VmState.FAILED):
            operation.notice(f"{record.name} is stopped already")
            return record
        before, machine = record, self._machines.get(record.id)
        record = self.update(replace(record, state=VmState.STOPPING))
        self._unwatch(record.id)
        try:
            if machine is not None and not force:
                if before.state is VmState.PAUSED:
                    await machine.resume()
                    before = replace(before, state=VmState.RUNNING)
                force = not await shut_down(self._engine, record, machine, operation)
                await afailpoint(STOP_ASKED)
            return await self.ended_now(record, operation, forced=force)
        except BaseException as problem:
            await self.not_stopped(before, machine, problem)
            raise

    async def ended_now(
        self, record: VmRecord, operation: Operation, *, forced: bool = True
    ) -> VmRecord:
        """Take down what a VM that was ended on purpose leaves on the host, and say so."""
        self._unwatch(record.id)
        await self._engine.effects.undo(record.id, RUN_KINDS, operation)
        await self._let_go(record.id)
        self._engine.events.publish(
            "vm.stopped",
            vm=record.id,
            operation=operation.id,
            name=record.name,
            forced=forced,
        )
        return self.update(_ended(record, ""))

    async def not_stopped(
        self, before: VmRecord, machine: Machine | None, problem: BaseException
    ) -> None:
        """A stop was interrupted or failed: the VM goes on as it was ``before``, or has ended all
        the same.
        """
        if machine is not None and process.alive(machine.process):
            self.watch(self.update(before), machine)
        else:
            await self.end(before, first_line(problem))

    async def delete(self, ref: str, operation: Operation, *, force: bool = False) -> VmRecord:
        """Delete a VM and everything that was made for it. A running one needs ``force``."""
        async with self.holding(ref) as record:
            if record.state in (VmState.RUNNING, VmState.PAUSED) and not force:
                raise Conflict(
                    f"{record.name} is {record.state}",
                    cause="a running VM is deleted only by force",
                    hints=[f"banger vm stop {record.name}", f"banger vm delete --force {ref}"],
                )
            going = self.update(replace(record, state=VmState.DELETING))
            await afailpoint(DELETE_BEGUN)
            operation.step(f"deleting {going.name}")
            await self._forget(going, operation)
            return going

    async def _forget(self, record: VmRecord, operation: Operation | None) -> None:
        """Undo everything of a VM and drop its record."""
        self._unwatch(record.id)
        await delete_all(self._engine, record.id, operation)
        await self._engine.effects.undo(record.id, operation=operation)
        await afailpoint(DELETE_UNDONE)
        await self._let_go(record.id)
        self._engine.close_console(record.id)
        self._engine.records.remove_vm(record.id)
        # Whoever waits for it has it, and finds no VM
        self._locks.pop(record.id, None)
        self._engine.events.publish("vm.deleted", vm=record.id, name=record.name)

    # --- watching ----------------------------------------------------------------------------

    def update(self, record: VmRecord) -> VmRecord:
        """Store ``record`` and return it."""
        self._engine.records.update_vm(record)
        return record

    def machine(self, vm_id: str) -> Machine | None:
        """The running machine of a VM, None when it does not run."""
        return self._machines.get(vm_id)

    @asynccontextmanager
    async def holding(self, ref: str) -> AsyncIterator[VmRecord]:
        """Keep every other operation on the VM ``ref`` waiting meanwhile, and give its record as it
        is then. Raises what ``Records.vm`` raises.
        """
        record = self._engine.records.vm(ref)
        async with self._locked(record.id):
            yield self._engine.records.vm(record.id)

    def locked(self, vm_id: str) -> AbstractAsyncContextManager[None]:
        """Keep every other operation on that VM waiting meanwhile."""
        return self._locked(vm_id)

    @asynccontextmanager
    async def all_locked(self, vm_ids: Iterable[str]) -> AsyncIterator[None]:
        """Keep every other operation on all of these VMs waiting meanwhile."""
        async with AsyncExitStack() as stack:
            # In one order, so that no two wait for each other
            for vm_id in sorted(set(vm_ids)):
                await stack.enter_async_context(self._locked(vm_id))
            yield

    def busy(self, vm_id: str) -> bool:
        """Whether an operation on that VM is under way."""
        lock = self._locks.get(vm_id)
        return lock is not None and lock.locked()

    async def adopt(self, record: VmRecord) -> None:
        """Take over a VM that an earlier daemon started and that still runs."""
        assert record.launch is not None
        assert record.process is not None
        driver = self._engine.registry.vmm_drivers.load(record.plan.driver)
        context = self._engine.context(record.plan.driver)
        machine = await driver.adopt(record.launch, record.process, context)
        await self._let_go_on(record, machine)
        self.watch(record, machine)
        await finish_change(self._engine, record)
        await self.starter.publish_again(record)
        if record.state is VmState.PAUSED:
            # The daemon may have died between saying it and doing it
            await machine.pause()
            remove_note(self._engine.paths, record.name)
        await self._engine.masters.begin(record, settle=0)

    async def _let_go_on(self, record: VmRecord, machine: Machine) -> None:
        """An earlier daemon may have died while the VM stood still to be copied."""
        for intent in self._engine.intents.of(record.id):
            if intent.kind == "standstill":
                if record.state is VmState.RUNNING:
                    await machine.resume()
                self._engine.intents.remove(intent.id)

    async def settle_disks(self, record: VmRecord) -> None:
        """Finish what a VM's way back to a snapshot left: one that runs has arrived, any other
        gets the disks that it had.
        """
        intents = [each for each in self._engine.intents.of(record.id) if each.kind in SWAP_KINDS]
        for intent in intents:
            if record.state in (VmState.RUNNING, VmState.PAUSED):
                self._engine.intents.done(intent.id)
        if intents:
            await self._engine.effects.undo(record.id, SWAP_KINDS)

    async def end(self, record: VmRecord, problem: str) -> None:
        """A VM is found to have ended: take down what it leaves on the host."""
        await self._engine.effects.undo(record.id, RUN_KINDS)
        await self._let_go(record.id)
        self.update(_ended(record, problem))

    async def drop(self, record: VmRecord) -> None:
        """A VM was left half made or half deleted by an earlier daemon: remove the rest."""
        await self._forget(record, None)

    def watch(self, record: VmRecord, machine: Machine) -> None:
        """Follow the console and the end of a VM from now on."""
        self._unwatch(record.id)
        if self._machines.get(record.id) is not machine:
            self._machines[record.id] = machine
            self.helpers.begin(record, machine)
        self._watchers[record.id] = asyncio.create_task(
            self._watch(record.id, machine), name=f"watch {record.name}"
        )

    def _unwatch(self, vm_id: str) -> None:
        if watcher := self._watchers.pop(vm_id, None):
            watcher.cancel()

    async def _watch(self, vm_id: str, machine: Machine) -> None:
        reader = asyncio.create_task(self.starter.follow_console(vm_id, machine))
        try:
            ended = await machine.wait()
        finally:
            reader.cancel()
        async with self._locked(vm_id):
            self._watchers.pop(vm_id, None)
            record = self._engine.records.vm(vm_id)
            if record.state in (VmState.RUNNING, VmState.PAUSED):
                self._engine.events.publish(
                    "vm.exited", vm=vm_id, name=record.name, reason=ended.reason
                )
                await self.end(record, "" if _clean(ended) else f"the VM ended: {ended.reason}")

    async def close(self) -> None:
        """Stop watching; the VMs go on."""
        watchers = list(self._watchers.values())
        for vm_id in list(self._watchers):
            self._unwatch(vm_id)
        await asyncio.gather(*watchers, return_exceptions=True)
        await asyncio.gather(*map(self._let_go, list(self._machines)), return_exceptions=True)

    async def _let_go(self, vm_id: str) -> None:
        self.helpers.end(vm_id)
        self.starter.forget(vm_id)
        if machine := self._machines.pop(vm_id, None):
            await machine.close()

    @asynccontextmanager
    async def _locked(self, vm_id: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(vm_id, asyncio.Lock())
        async with lock:
            yield


def _require(record: VmRecord, *states: VmState) -> None:
    if record.state not in states:
        raise Conflict(f"{record.name} is {record.state}", hints=[f"banger vm show {record.name}"])


def _kept_when_started(problem: GuestFailed, name: str) -> GuestFailed:
    """Return the failure of a VM that is gone with hints that do not ask for it."""
    hints = [
        f"banger vm create --name {name} …, then banger vm start {name}: what is started stays",
        f"banger vm logs {name}, to see all that it said",
    ]
    return GuestFailed(problem.summary, cause=problem.cause, hints=hints)


def _ended(record: VmRecord, problem: str) -> VmRecord:
    return replace(
        record,
        state=VmState.STOPPED,
        started_at=None,
        process=None,
        launch=None,
        accel="",
        warm=False,
        problem=problem,
    )


def _clean(ended: Any) -> bool:
    return ended.reason in ("guest-shutdown", "guest-reset") or ended.status == 0


def first_line(problem: BaseException) -> str:
    """What is said of a VM that ended by ``problem``."""
    if isinstance(problem, asyncio.CancelledError):
        return "it was interrupted"
    return problem.summary if isinstance(problem, BangerError) else type(problem).__name__
