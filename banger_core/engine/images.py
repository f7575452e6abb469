"""Images that are here: pulled whole, with their own kernel and initramfs, or not at all."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.image_new import new_image, record_of
from banger_core.engine.operations import Operation, in_thread, together
from banger_core.errors import Conflict, NotFound
from banger_core.guest.initrd import build_initrd, initrd_digest
from banger_core.model import GuestPin, ImagePin, ImageRecord, KernelFiles, KernelPin, VmPlan
from banger_core.plan.choose import same_kernel
from banger_core.plan.limits import check_estimate
from banger_core.plan.names import check_image_name
from banger_core.rootfs.build import RootfsFacts, build_rootfs

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

register("pull.after_intent", "an image is announced, nothing of it is there")
register("pull.after_rootfs", "a root file system is written, the image is not recorded")
register("pull.before_record", "an image lies in its place, the record is missing")


class ImageStore:
    """Pulls, finds and deletes images for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locks: dict[str, asyncio.Lock] = {}

    def find(self, ref: str) -> ImageRecord:
        """The image here that ``ref`` means: a name, an id, a unique prefix of an id, or a
        reference. Raises NotFound with the names there are, UsageProblem when ambiguous.
        """
        try:
            return self._engine.records.image(ref)
        except NotFound:
            if image := self._engine.chooser().any_image(ref):
                return image
            raise

    async def pull(
        self,
        ref: str,
        operation: Operation,
        *,
        name: str | None = None,
        kernel: str = "",
        size: int | None = None,
        platform: str = "",
    ) -> tuple[ImageRecord, bool]:
        """Make ``ref`` an image here, as it is now at its source.

        Returns the image, and whether it is new (False: the same one was here already). ``name``
        is what it is called here (None: as its source calls it), ``size`` the virtual size of its
        disk in bytes (None: the configured one), ``platform`` which one of several it is
        (``linux/amd64``; empty: this host's).
        """
        if name is not None:
            check_image_name(name)
        operation.step(f"resolving {ref}")
        chooser = self._engine.chooser(operation)
        pin, kernel_pin, guest = await together(
            chooser.image(ref, platform), chooser.kernel(kernel), chooser.guest()
        )
        check_estimate(size or self._engine.settings.image.size, pin.size, pin.ref, "--size")
        return await self.ensure(pin, kernel_pin, guest, operation, name=name, size=size)

    async def for_plan(self, plan: VmPlan, operation: Operation) -> ImageRecord:
        """Return the image that ``plan`` pinned; pulls it when it is not here.

        A VM with a kernel of its own uses the image as it is here, with whatever kernel.
        """
        for image in self._engine.records.images():
            if image.pin.digest == plan.image.digest:
                return image
        kernel = plan.image_kernel or plan.kernel
        image, _ = await self.ensure(plan.image, kernel, plan.guest, operation)
        return image

    async def ensure(
        self,
        pin: ImagePin,
        kernel: KernelPin,
        guest: GuestPin,
        operation: Operation,
        *,
        name: str | None = None,
        size: int | None = None,
    ) -> tuple[ImageRecord, bool]:
        """Return the image of exactly these pins, made now when it is not here yet."""
        wanted = size or self._engine.settings.image.size
        lock = self._locks.setdefault(pin.digest, asyncio.Lock())
        async with lock:
            for image in self._engine.records.images():
                if _same(image, pin, kernel) and (size is None or image.disk_size == wanted):
                    return self._rename(image, name), False
            record = await self._make(pin, kernel, guest, operation, name or pin.name, wanted)
            return record, True

    async def _make(
        self,
        pin: ImagePin,
        kernel: KernelPin,
        guest: GuestPin,
        operation: Operation,
        name: str,
        size: int,
    ) -> ImageRecord:
        async with new_image(self._engine) as directory:
            await afailpoint("pull.after_intent")
            operation.step(f"fetching {pin.ref}")
            _, kernel_pin = await together(
                self._fetch(pin, operation),
                self._engine.kernels.place(kernel, directory / "kernel", operation),
            )
            operation.mark("fetched")
            operation.step("writing the root file system")
            # Side by side, so that a kernel that no guest can boot is refused before that is done
            facts, _ = await together(
                self._write(pin, directory, size, operation),
                self.initrd(
                    KernelFiles.in_directory(directory / "kernel"), directory, guest, operation
                ),
            )
            operation.mark("written")
            await afailpoint("pull.after_rootfs")
            record = record_of(directory, name, pin, kernel_pin, facts)
            await afailpoint("pull.before_record")
            self._replace(record)
        return record

    async def _fetch(self, pin: ImagePin, operation: Operation) -> None:
        source = self._engine.registry.image_sources.load(pin.source)
        await source.fetch(pin, self._engine.context(pin.source, operation))

    async def _write(
        self, pin: ImagePin, directory: Path, size: int, operation: Operation
    ) -> RootfsFacts:
        source = self._engine.registry.image_sources.load(pin.source)
        context = self._engine.context(pin.source, operation)
        return await in_thread(
            operation,
            lambda: build_rootfs(
                lambda: source.layers(pin, context),
                directory / "rootfs.ext4",
                size=size,
                identity=pin.digest.encode(),
                work_seed=directory / "work-seed.ext4",
                progress=operation.progress,
            ),
        )

    def changing(self, image_id: str) -> AbstractAsyncContextManager[None]:
        """Keep whoever else changes that image, or deletes it, waiting meanwhile."""
        return self._locks.setdefault(image_id, asyncio.Lock())

    async def initrd(
        self, kernel: KernelFiles, directory: Path, guest: GuestPin, operation: Operation
    ) -> Path:
        """Return the initramfs for ``kernel`` with this guest runtime, made when it is not in
        ``directory`` yet; one made by an older guest runtime is removed.
        """
        out = directory / f"initrd-{initrd_digest(guest, kernel)}.cpio"
        if not out.exists():
            runtime = self._engine.registry.guest_runtimes.load(guest.runtime)
            files = await runtime.materialise(guest, self._engine.context(guest.runtime, operation))
            await in_thread(operation, lambda: build_initrd(files, kernel, out))
            for other in directory.glob("initrd-*.cpio"):
                if other != out:
                    other.unlink(missing_ok=True)
        return out

    def _rename(self, image: ImageRecord, name: str | None) -> ImageRecord:
        if not name or image.name == name:
            return image
        renamed = replace(image, name=name)
        self._give_way(renamed)
        self._engine.records.update_image(renamed)
        return renamed

    def _replace(self, record: ImageRecord) -> None:
        """Record a new image; an older one of that name loses it, and goes when nothing uses it."""
        self._give_way(record)
        self._engine.records.add_image(record)

    def _give_way(self, record: ImageRecord) -> None:
        for old in self._engine.records.images():
            if old.name == record.name and old.id != record.id:
                self._engine.records.update_image(replace(old, name=f"{old.name}-{old.id[:6]}"))

    async def delete(self, ref: str, operation: Operation) -> ImageRecord:
        """Delete an image. Raises NotFound, and Conflict while a VM is made of it."""
        image = self.find(ref)
        users = self._engine.records.vms_using_image(image.id)
        if users:
            names = ", ".join(sorted(vm.name for vm in users))
            raise Conflict(
                f"image {image.name} is in use",
                cause=f"machines are made of it: {names}",
                hints=[f"banger vm delete {names.replace(',', '')}"],
            )
        async with self.changing(image.id):
            operation.step(f"deleting {image.name}")
            self._engine.records.remove_image(image.id)
            await self._engine.effects.undo(f"image-{image.id}")
        return image


def _same(image: ImageRecord, pin: ImagePin, kernel: KernelPin) -> bool:
    return image.pin.digest == pin.digest and same_kernel(image.kernel, kernel)
