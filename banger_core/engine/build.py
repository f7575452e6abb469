"""Build a VM: its directory, its image, its disk and its host key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.config.paths import secure_dir
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.operations import Operation, in_thread, together
from banger_core.guest.hostkey import make_host_key
from banger_core.model import ImageRecord, KernelFiles, VmPlan, VmRecord
from banger_core.plan.choose import same_kernel
from banger_core.plan.limits import check_disk, check_growth
from banger_core.plan.registered import check_files
from banger_core.rootfs.disks import (
    clone_disk,
    make_once,
    make_work_disk,
    prune_seeds,
    seed_for,
)
from banger_core.rootfs.ext4.tools import Identity
from banger_core.rootfs.qcow2 import backing_file
from banger_core.rootfs.workseed import extract_work_seed

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

AFTER_RECORD = register("create.after_record", "a VM is recorded, nothing of it is there")
AFTER_DIRECTORY = register("create.after_directory", "a VM has a directory and nothing in it")
AFTER_DISK = register("create.after_disk", "a VM has a disk and no key")
AFTER_BUILD = register("create.after_build", "a VM is complete and not said to be")


class VmBuilder:
    """Makes what a VM keeps while it is stopped."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def build(self, record: VmRecord, operation: Operation) -> VmRecord:
        """Make everything that ``record`` plans and return it with image and host key."""
        await afailpoint(AFTER_RECORD)
        plan = record.plan
        directory = await self._engine.effects.make_directory(
            plan.id, "directory", self._engine.paths.vm_state(plan.id)
        )
        await afailpoint(AFTER_DIRECTORY)
        image = await self._image(plan, operation)
        record = replace(record, image_id=image.id)
        self._engine.records.update_vm(record)
        host_key, *_ = await together(
            self.host_key(directory, operation),
            self._disk(plan, image, directory, operation),
            self._work_disk(plan, image, directory, operation),
            self._kernel(plan, image, directory, operation),
        )
        record = replace(record, host_key=host_key)
        self._engine.records.update_vm(record)
        await afailpoint(AFTER_BUILD)
        return record

    async def _image(self, plan: VmPlan, operation: Operation) -> ImageRecord:
        image = await self._engine.images.for_plan(plan, operation)
        check_files(image)
        operation.mark("image")
        check_disk(plan.disk_size, image.minimum_size)
        return image

    async def _disk(
        self, plan: VmPlan, image: ImageRecord, directory: Path, operation: Operation
    ) -> None:
        disk, foreign = disk_path(directory, plan), image.host is not None

        def work() -> None:
            # What a VM is a clone of stays as it is, whatever becomes of the user's own file
            seeds = image.directory / "seeds"
            base = seed_for(image.rootfs, plan.disk_size, seeds, foreign=foreign)
            clone_disk(base, disk, format=plan.disk_format, size=plan.disk_size)
            if foreign:
                prune_seeds(seeds, [base, *self._bases(image)])

        async with self._engine.images.changing(image.id) if foreign else nullcontext():
            await in_thread(operation, work)
        await afailpoint(AFTER_DISK)

    async def _work_disk(
        self, plan: VmPlan, image: ImageRecord, directory: Path, operation: Operation
    ) -> None:
        """A clone of the image's seed; where there can be none, an empty disk, to which the guest
        copies /root when it first boots.
        """
        if place := work_disk_path(directory, plan):
            check_growth("work-disk", 0, plan.work_disk, directory)
            async with self._engine.images.changing(image.id) if image.host else nullcontext():
                await in_thread(operation, partial(_make_work_disk, plan, image, place))

    def _bases(self, image: ImageRecord) -> Iterator[Path]:
        """What the disks of the VMs made of ``image`` are clones of."""
        for vm in self._engine.records.vms_using_image(image.id):
            disk = disk_path(self._engine.paths.vm_state(vm.id), vm.plan)
            if disk.exists() and (base := backing_file(disk)):
                yield base

    async def host_key(self, directory: Path, operation: Operation) -> str:
        """Make the guest runtime's host key; returns its public half."""
        private, public = await make_host_key(self._engine.run, directory)
        await in_thread(
            operation, partial(self._engine.write_private, directory / "hostkey", private)
        )
        return public

    async def _kernel(
        self, plan: VmPlan, image: ImageRecord, directory: Path, operation: Operation
    ) -> None:
        """A VM with a kernel other than its image's keeps a copy of its own."""
        if not same_kernel(plan.kernel, image.kernel):
            await self._engine.kernels.place(plan.kernel, directory / "kernel", operation)


def _make_work_disk(plan: VmPlan, image: ImageRecord, place: Path) -> None:
    rootfs, seed, cache = image.rootfs, image.work_seed, image.directory / "seeds"
    if image.host:
        # The user's own file may change at any time: what is read is the copy that disks are of
        rootfs = seed_for(rootfs, plan.disk_size, cache, foreign=True)
        cache = secure_dir(image.directory / "work-seeds")
        seed = cache / rootfs.name
    names = Identity.derive(f"{image.pin.digest} work {seed.name}".encode())
    make_once(seed, lambda: extract_work_seed(rootfs, seed, names))
    if not seed.exists():
        make_work_disk(place, plan.work_disk)
        return
    resized = seed_for(seed, plan.work_disk, cache, option="--work-disk")
    clone_disk(resized, place, format="raw", size=plan.work_disk)
    if image.host:
        prune_seeds(cache, [seed, resized])


def disk_path(directory: Path, plan: VmPlan) -> Path:
    """The root disk in a VM's directory."""
    return directory / f"root.{plan.disk_format}"


def work_disk_path(directory: Path, plan: VmPlan) -> Path | None:
    """The work disk in a VM's directory, None for a VM that has none."""
    return directory / "work.raw" if plan.work_disk else None


def boot_kernel(directory: Path, image: ImageRecord) -> tuple[KernelFiles, Path]:
    """The kernel a VM boots, and the directory that keeps the initramfs made for it."""
    own = directory / "kernel"
    if own.is_dir():
        return KernelFiles.in_directory(own), directory
    return image.kernel_files, image.directory
