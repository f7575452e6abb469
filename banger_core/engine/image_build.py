"""Images that are built: a machine of another image, some steps in it, and its disk at the end.

The machine is an ephemeral one whose lease is this daemon's: whatever becomes of the build, or of
the daemon, it goes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.bundle.parts import digest_of, find_parts, write_sparse
from banger_core.engine import process
from banger_core.engine.build import disk_path
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.guest_steps import ask_guest, forget_identity, run_step
from banger_core.engine.image_new import check_new_name, copy_kernel, new_image, record_of
from banger_core.engine.operations import Operation, in_thread, together
from banger_core.errors import GuestFailed, UsageProblem
from banger_core.guest.packagesets import DETECT, FAMILIES, PackageList
from banger_core.model import ImagePin, ImageRecord, VmRecord, VmRequest
from banger_core.packages import find_program
from banger_core.plan.limits import check_space
from banger_core.plan.names import make_id
from banger_core.plan.registered import check_files
from banger_core.rootfs.build import RootfsFacts
from banger_core.rootfs.ext4.tools import run_tool
from banger_core.rootfs.flatten import flat_content
from banger_core.rootfs.inspect import inspect_rootfs, read_superblock
from banger_core.rootfs.partial import publishing

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

AFTER_BOOT = register("build.after_boot", "the machine of a build runs, no step was done")
AFTER_STEPS = register("build.after_steps", "all steps are done, the machine still runs")
AFTER_STOP = register("build.after_stop", "the machine of a build is down, nothing is saved")
AFTER_INTENT = register("build.after_intent", "a built image is announced, nothing is there")
BEFORE_RECORD = register("build.before_record", "a built image is complete, not recorded")

SOURCE = "build"
LABEL = "banger.build"
"""The label of machines that exist for a build; its value is the name of the image."""

SPACE = 512 << 20
"""Bytes that a build may need beyond twice its base's content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What is to be built: ``base`` and either a ``script`` or ``packages``. Sizes in bytes."""

    base: str
    name: str
    script: bytes = b""
    packages: PackageList | None = None
    vcpu: int | None = None
    memory: int | None = None
    disk_size: int | None = None


class ImageBuilder:
    """Builds images for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def build(self, wanted: Build, operation: Operation) -> ImageRecord:
        """Build an image; whatever happens, the machine is gone afterwards.

        Raises Conflict for a taken name, NotFound for the base, GuestFailed when a step fails or
        the machine does not shut down cleanly, and NoSpace.
        """
        engine = self._engine
        check_new_name(engine, wanted.name)
        if bool(wanted.script.strip()) == bool(wanted.packages):
            raise UsageProblem(
                "there is nothing to build",
                cause="one of a script, which is not empty, and packages is needed",
                hints=["banger image build --script FILE", "banger image build --packages dev"],
            )
        base = engine.images.find(wanted.base)
        check_files(base)
        for program in ("ssh", "e2fsck", "resize2fs"):
            find_program(program)
        check_space(engine.paths.state, 2 * base.content_size + SPACE, f"the image {wanted.name}")
        request = VmRequest(
            image=base.id,
            name=f"build-{make_id()}",
            vcpu=wanted.vcpu,
            memory=wanted.memory,
            disk_size=wanted.disk_size,
            # What is done in /root is to be in the image, too
            work_disk=0,
            ephemeral=True,
            lease=process.identify(os.getpid()),
            labels={LABEL: wanted.name},
        )
        vm, _ = await engine.machines.create(request, operation, start=True)
        try:
            await afailpoint(AFTER_BOOT)
            await self._steps(vm, wanted, operation)
            await afailpoint(AFTER_STEPS)
            vm = await engine.machines.stop(vm.id, operation)
            await afailpoint(AFTER_STOP)
            return await self._save(vm, base, wanted, operation)
        finally:
            await self._delete(vm)

    async def _steps(self, vm: VmRecord, wanted: Build, operation: Operation) -> None:
        engine = self._engine
        script, what = wanted.script, "the script"
        if wanted.packages is not None:
            operation.step("looking for the package manager")
            found = await ask_guest(engine, vm, DETECT)
            if found not in FAMILIES:
                raise GuestFailed(
                    f"packages cannot be installed in {wanted.base}",
                    cause=f"it has none of {', '.join(FAMILIES)}",
                    hints=["--script FILE does whatever you like"],
                )
            script, what = wanted.packages.script(found).encode(), f"{found} install"
        operation.step(f"running {what} in {vm.name}")
        await run_step(engine, vm, script, what, operation)
        operation.step("removing what tells machines apart")
        await forget_identity(engine, vm)

    async def _save(
        self, vm: VmRecord, base: ImageRecord, wanted: Build, operation: Operation
    ) -> ImageRecord:
        engine = self._engine
        disk = disk_path(engine.paths.vm_state(vm.id), vm.plan)
        guest = await engine.chooser(operation).guest()
        async with new_image(engine) as directory:
            await afailpoint(AFTER_INTENT)
            rootfs = directory / "rootfs.ext4"
            operation.step("saving the disk")
            (facts, digest), _ = await together(
                in_thread(operation, lambda: _flatten(disk, rootfs, vm.plan.disk_size, operation)),
                in_thread(
                    operation, lambda: copy_kernel(base, directory / "kernel", operation.progress)
                ),
            )
            pin = ImagePin(
                source=SOURCE,
                ref=f"{SOURCE}://{wanted.name}",
                name=wanted.name,
                digest=f"sha256:{digest}",
                architecture=base.pin.architecture,
                size=facts.content_size,
                config=base.pin.config,
                data={"base": base.name, "base_digest": base.pin.digest},
            )
            record = record_of(directory, wanted.name, pin, base.kernel, facts)
            await engine.images.initrd(record.kernel_files, directory, guest, operation)
            await afailpoint(BEFORE_RECORD)
            engine.records.add_image(record)
        return record

    async def _delete(self, vm: VmRecord) -> None:
        """The machine goes, also while the build is being cancelled."""
        engine = self._engine
        if vm.id in {record.id for record in engine.records.vms()}:
            # Not the build's own operation: once cancelled, that one refuses to go on
            deletion = Operation(engine.events, f"deleting {vm.name}")
            await engine.machines.delete(vm.id, deletion, force=True)


def _flatten(disk: Path, rootfs: Path, size: int, operation: Operation) -> tuple[RootfsFacts, str]:
    """Write the content of ``disk`` to ``rootfs``, and check that it is a clean file system."""
    with publishing(rootfs) as temporary:
        with temporary.open("r+b") as file:
            write_sparse(
                file,
                flat_content(disk),
                lambda done: operation.progress("saving the disk", done, size),
            )
        if not read_superblock(temporary).clean:
            raise GuestFailed(
                "the machine did not shut down cleanly",
                cause="its root file system was still in use when it ended",
                hints=[
                    "stop what hangs at the end of the script",
                    "set a longer stop_grace in [vm]",
                ],
            )
        # What the guest may leave to be settled: orphaned inodes, counts
        run_tool(["e2fsck", "-f", "-p", str(temporary)], fine=(0, 1))
        facts = inspect_rootfs(temporary)
        parts = find_parts(temporary, lambda _: operation.check())
        digest = digest_of(temporary, parts, lambda _: operation.check())
    return facts, digest.hexdigest()
