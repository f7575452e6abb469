"""Start a VM: network, launch, readiness, names and pins."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.contracts import RestoringDriver
from banger_core.engine import process
from banger_core.engine.build import boot_kernel, disk_path, work_disk_path
from banger_core.engine.console import ConsoleRing
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.operations import Operation, in_thread
from banger_core.engine.ssh import public_key, wait_for_ssh, write_note
from banger_core.engine.ssh_image import look_at_image, wants_image
from banger_core.engine.warm import Warmth
from banger_core.errors import BangerError, Conflict, GuestFailed, HostNotReady, Interrupted
from banger_core.escapes import strip_escapes
from banger_core.guest.seed import SeedConfig, write_seed
from banger_core.jsonable import to_json
from banger_core.model import (
    ImageRecord,
    LaunchSpec,
    SshTarget,
    VmDirs,
    VmRecord,
    VmState,
)
from banger_core.netcontract import HoldingNetwork
from banger_core.plan.links import with_links
from banger_core.plan.registered import check_kernel_files
from banger_core.rootfs.disks import grow_disk
from banger_core.store.content import room_in
from banger_core.warmcontract import WarmDriver

if TYPE_CHECKING:
    from banger_core.contracts import Context, Machine, VmmDriver
    from banger_core.engine.engine import Engine

AFTER_SEED = register("start.after_seed", "the seed is written, nothing runs")
AFTER_NETWORK = register("start.after_network", "the network is up, nothing runs")
AFTER_LAUNCH = register("start.after_launch", "the VMM runs, its pid is not recorded")
AFTER_PROCESS = register("start.after_process", "the VMM runs and is recorded, not ready")
AFTER_READY = register("start.after_ready", "the guest answers, nothing is published")
AFTER_PUBLISH = register("start.after_publish", "names and pins are published, not said to be")

READY_MARK = b"@@ banger ready"
"""What the guest runtime prints when its SSH server listens: a hint to look, not a proof."""

READY_DEADLINE = 120.0
"""Seconds a guest may take until it answers, under software emulation on a busy host."""

READY_SHARE = 10.0
"""Seconds more for each other one that starts at the same time, shared by the processors."""

log = logging.getLogger("banger.engine")


def ready_deadline(starting: int, processors: int) -> float:
    """Return how many seconds a guest may take when ``starting`` start together, itself included:
    whoever asks for many at once waits for the last of them, not for one.
    """
    return READY_DEADLINE + READY_SHARE * max(0, starting - 1) / processors


class VmStarter:
    """Takes a built VM to one that answers over SSH."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._marks: dict[str, asyncio.Event] = {}
        self._warmth: dict[str, Warmth] = {}

    async def launch(
        self,
        record: VmRecord,
        operation: Operation,
        saved: Path | None = None,
        *,
        cold: bool = False,
    ) -> tuple[VmRecord, Machine]:
        """Bring the network up and start the VMM; returns with the process recorded. It goes on
        from what its driver wrote into the directory ``saved``, standing still, or begins: warm
        where it can, unless it is to be ``cold``.
        """
        engine, plan = self._engine, record.plan
        runtime = await engine.effects.make_directory(
            plan.id, "runtime", engine.paths.vm_runtime(plan.id)
        )
        dirs = await self._prepare(record, operation)
        await self._network_up(record, operation, held=saved is not None)
        driver = engine.registry.vmm_drivers.load(plan.driver)
        context = engine.context(plan.driver, operation)
        spec, accel = await self.spec(record, dirs, operation)
        if accel == "tcg" and plan.accel == "auto" and saved is None:
            operation.notice("no usable hardware virtualisation: software emulation is used")
        warmth = None
        if saved is None:
            warmth = await engine.warm.find(plan, dirs, accel, cold=cold)
        operation.step(f"starting {record.name}")
        mark = self._marks[plan.id] = asyncio.Event()
        if saved is not None:
            # It will not say again that it listens
            mark.set()

        async with AsyncExitStack() as unwatched:

            async def start() -> tuple[Machine, LaunchSpec, bool]:
                warm = warmth and await self._start_warm(driver, warmth, context)
                machine, used = warm or await self._start(driver, spec, saved, context)
                # Until somebody watches it nobody else lets go of it
                unwatched.push_async_callback(machine.close)
                await afailpoint(AFTER_LAUNCH)
                return machine, used, bool(warm)

            machine, used, warm = await engine.effects.do(plan.id, "process", str(runtime), start)
            operation.mark("launched")
            if warmth is not None:
                self._warmth[plan.id] = warmth
            record = replace(record, process=machine.process, launch=used, accel=accel, warm=warm)
            engine.records.update_vm(record)
            await afailpoint(AFTER_PROCESS)
            unwatched.pop_all()
        return record, machine

    async def spec(
        self, record: VmRecord, dirs: VmDirs, operation: Operation
    ) -> tuple[LaunchSpec, str]:
        """Return how the VM would be started, and with which acceleration."""
        plan = record.plan
        driver = self._engine.registry.vmm_drivers.load(plan.driver)
        context = self._engine.context(plan.driver, operation)
        accel = await driver.accel(plan.accel, dirs, context)
        return driver.launch(plan, dirs, accel), accel

    async def _start(
        self, driver: VmmDriver, spec: LaunchSpec, saved: Path | None, context: Context
    ) -> tuple[Machine, LaunchSpec]:
        for path, text in spec.files.items():
            self._engine.write_private(path, text.encode())
        if saved is None:
            return await driver.start(spec, context), spec
        assert isinstance(driver, RestoringDriver)
        return await driver.restore(spec, saved, context), spec

    async def _start_warm(
        self, driver: VmmDriver, warmth: Warmth, context: Context
    ) -> tuple[Machine, LaunchSpec] | None:
        """Start a VM as a saved machine; None when there is none, or it is of no use."""
        if warmth.image is None or not isinstance(driver, WarmDriver):
            return None
        try:
            spec = driver.launch_warm(warmth.plan, warmth.dirs, warmth.accel, warmth.image)
            return await self._start(driver, spec, None, context)
        except (Conflict, HostNotReady, Interrupted):
            raise
        except BangerError as problem:
            await self._engine.warm.give_up(warmth, problem)
            return None

    async def places(self, record: VmRecord, operation: Operation) -> VmDirs:
        """Say where everything of a VM lies; sees to the initramfs."""
        engine, plan = self._engine, record.plan
        image = engine.records.image(record.image_id)
        directory = engine.paths.vm_state(plan.id)
        kernel, keeper = boot_kernel(directory, image)
        check_kernel_files(image, kernel)
        guest = await engine.chooser(operation).guest()
        return VmDirs(
            state=directory,
            runtime=engine.paths.vm_runtime(plan.id),
            kernel=kernel.vmlinux,
            initrd=await engine.images.initrd(kernel, keeper, guest, operation),
            root_disk=disk_path(directory, plan),
            seed=directory / "seed.img",
            work_disk=work_disk_path(directory, plan),
        )

    async def _prepare(self, record: VmRecord, operation: Operation) -> VmDirs:
        """Write the seed, fit the disks, and say where everything lies."""
        dirs = await self.places(record, operation)
        await in_thread(operation, partial(fit_disks, record, dirs.state))
        image = self._engine.records.image(record.image_id)
        write_seed(dirs.seed, await self._seed(record, image, dirs.state))
        await afailpoint(AFTER_SEED)
        return dirs

    async def _seed(self, record: VmRecord, image: ImageRecord, directory: Path) -> SeedConfig:
        engine, net = self._engine, record.plan.net
        identity = await engine.identity()
        return SeedConfig(
            hostname=record.name,
            mac=net.mac,
            address=net.guest_address,
            gateway=net.gateway,
            address6=net.guest_address6,
            gateway6=net.gateway6,
            nameserver=net.nameserver,
            authorized_keys=(await public_key(identity, engine.run),),
            host_key=(directory / "hostkey").read_bytes(),
            epoch=time.time(),
            idle_limit=engine.ssh.fold(record.plan)["idle_limit"].value,
            config=image.pin.config,
            work_disk=bool(record.plan.work_disk),
            grown=record.grown,
        )

    async def _network_up(self, record: VmRecord, operation: Operation, *, held: bool) -> None:
        engine = self._engine
        net = with_links(record.plan.net, engine.records.vms())
        network = engine.registry.networks.load(net.network)
        context = engine.context(net.network, operation)

        async def up() -> None:
            await network.up(net, context)
            if held and isinstance(network, HoldingNetwork):
                await network.hold(net, context)

        await engine.effects.do(record.id, "network", net.network, up, plan=to_json(net))
        await afailpoint(AFTER_NETWORK)

    def forget(self, vm_id: str) -> None:
        """Nobody waits for that VM any more."""
        self._marks.pop(vm_id, None)
        self._warmth.pop(vm_id, None)

    async def make_ready(
        self, record: VmRecord, operation: Operation
    ) -> tuple[VmRecord, SshTarget]:
        """Wait until the guest answers, publish its names and pins, and write its note."""
        operation.step(f"waiting for {record.name} to answer")
        process_id = record.process
        assert process_id is not None
        host, port = record.plan.net.ssh
        mark, warmth = self._marks[record.id], self._warmth.pop(record.id, None)
        try:
            await wait_for_ssh(
                host,
                port,
                ready_deadline(len(self._marks), os.cpu_count() or 1),
                lambda: process.alive(process_id),
                mark,
                record.name,
            )
        except GuestFailed as problem:
            if warmth is not None and record.warm:
                await self._engine.warm.give_up(warmth, problem, woken=True)
            raise explained(problem, self._engine.console(record.id)) from problem
        finally:
            self.forget(record.id)
        operation.mark("answered")
        await afailpoint(AFTER_READY)
        record = await self._see_image(record, operation, lambda: process.alive(process_id))
        await self._publish(record, operation)
        target = self._engine.ssh_target(record)
        await self._engine.effects.do(
            record.id, "note", str(self._engine.paths.note(record.name)), lambda: self._note(target)
        )
        await afailpoint(AFTER_PUBLISH)
        record = replace(record, state=VmState.RUNNING, started_at=time.time())
        self._engine.records.update_vm(record)
        if warmth is not None and warmth.image is None:
            self._engine.warm.make_soon(warmth)
        return record, target

    async def _see_image(
        self, record: VmRecord, operation: Operation, alive: Callable[[], bool]
    ) -> VmRecord:
        """Look at the image's own server where people are to reach it, and keep what it shows."""
        if not wants_image(self._engine.ssh.current(record).plan.ssh):
            return record
        operation.step(f"waiting for the SSH server of {record.name}'s image")
        try:
            record = await look_at_image(record, self._engine.run, alive)
        except BangerError as problem:
            # Banger's own server answers: the VM is of use, and a login to the image's is refused
            operation.notice(f"{problem.summary} ({problem.cause}): logins to it are refused")
            for hint in problem.hints:
                operation.notice(hint)
        self._engine.records.update_vm(record)
        return record

    async def _note(self, target: SshTarget) -> None:
        write_note(self._engine.paths, target)

    async def _publish(self, record: VmRecord, operation: Operation) -> None:
        record = self._engine.ssh.current(record)
        for name in self._engine.registry.network_attachments.names():
            await self._attach(record, name, operation)

    async def _attach(self, record: VmRecord, name: str, operation: Operation | None) -> None:
        engine = self._engine
        attachment = engine.registry.network_attachments.load(name)
        context = engine.context(name, operation)
        await engine.effects.do(
            record.id,
            "attachment",
            name,
            lambda: attachment.attach(record, context),
            vm=to_json(replace(record, launch=None)),
        )

    async def publish_again(self, record: VmRecord) -> None:
        """Publish a VM that an earlier daemon started, by attachments that came since, too. What
        fails is logged: the VM runs.
        """
        engine, attachments = self._engine, self._engine.registry.network_attachments
        intents = engine.intents.of(record.id)
        begun = {each.subject: each for each in intents if each.kind == "attachment"}
        try:
            record = engine.ssh.current(record)
            for name in attachments.names():
                if name in begun:
                    attach = partial(attachments.load(name).attach, record, engine.context(name))
                    await engine.effects.redo(begun[name], attach)
                else:
                    await self._attach(record, name, None)
        except BangerError as problem:
            log.warning("%s is not published: %s", record.name, problem.summary)

    async def follow_console(self, vm_id: str, machine: Machine) -> None:
        """Keep what the guest prints, and notice when it says that it is ready."""
        ring = self._engine.console(vm_id)
        tail = b""
        async for data in machine.console():
            ring.append(data)
            if (mark := self._marks.get(vm_id)) is not None:
                tail = (tail + data)[-4096:]
                if READY_MARK in tail:
                    mark.set()


def fit_disks(record: VmRecord, directory: Path) -> None:
    """Make the disks of a VM that does not run as large as its plan says, should they be smaller.
    Blocks. Raises UsageProblem and NoSpace.
    """
    sizes = {
        "root": (disk_path(directory, record.plan), record.plan.disk_size),
        "work": (work_disk_path(directory, record.plan), record.plan.work_disk),
    }
    with room_in(directory):
        for name in record.grown:
            disk, size = sizes[name]
            if disk is not None:
                grow_disk(disk, size)


def explained(problem: GuestFailed, ring: ConsoleRing) -> GuestFailed:
    """Return a failed start with the last thing that the guest said on its console."""
    lines = [line for line in strip_escapes(ring.read(4096)).splitlines() if line.strip()]
    if not lines:
        return problem
    last = f"its console ends with: {lines[-1].strip()[:200]}"
    return GuestFailed(problem.summary, cause=f"{problem.cause}; {last}", hints=problem.hints)
