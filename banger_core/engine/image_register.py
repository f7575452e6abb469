"""Images made of the user's own files: registered where they lie, or promoted (copied in)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.config.paths import secure_dir
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.image_new import check_new_name, copy_kernel, new_image, record_of
from banger_core.engine.kernel_import import pin_kernel
from banger_core.engine.operations import Operation, in_thread
from banger_core.engine.trees import remove_tree
from banger_core.errors import UsageProblem
from banger_core.kernel.collection import collect
from banger_core.kernel.identity import identify
from banger_core.kernel.intake import check_file
from banger_core.kernel.origin import Origin, modules_of, with_neighbours
from banger_core.model import HostFiles, ImagePin, ImageRecord, KernelFiles, KernelPin
from banger_core.plan.limits import check_space
from banger_core.plan.registered import check_files
from banger_core.rootfs.build import RootfsFacts
from banger_core.rootfs.disks import copy_sparse
from banger_core.rootfs.inspect import inspect_rootfs
from banger_core.rootfs.partial import publishing

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

AFTER_INTENT = register("register.after_intent", "an image is announced, it has no kernel yet")
BEFORE_RECORD = register("register.before_record", "an image is complete, the record is missing")
AFTER_COPY = register(
    "promote.after_copy", "an image's files are copied, the record is the old one"
)

SOURCE = "host"
"""What stands for the source of images that no source gave."""

_ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What is to be registered: absolute paths, and either ``kernel`` (with what belongs to it)
    or the name of a kernel, ``kernel_ref``.
    """

    name: str
    rootfs: Path
    kernel_ref: str = ""
    kernel: Path | None = None
    initrd: Path | None = None
    modules: Path | None = None


class Registrar:
    """Registers and promotes images for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def register(self, wanted: Registration, operation: Operation) -> ImageRecord:
        """Make an image of files that stay where they are, and are only ever read.

        Raises Conflict for a taken name, UsageProblem for files that no VM could use, NotFound
        for an unknown kernel and HostNotReady for what cannot be read.
        """
        engine = self._engine
        check_new_name(engine, wanted.name)
        self._check_places(wanted)
        operation.step(f"checking {wanted.rootfs}")
        facts = await in_thread(operation, lambda: inspect_rootfs(wanted.rootfs))
        guest = await engine.chooser(operation).guest()
        async with new_image(engine) as directory:
            await afailpoint(AFTER_INTENT)
            if wanted.kernel_ref:
                kernel, host = await self._named_kernel(wanted, directory, operation)
            else:
                kernel, host = await self._host_kernel(wanted, directory, operation)
            pin = _pin(wanted, directory.name, kernel, facts.content_size)
            record = record_of(directory, wanted.name, pin, kernel, facts, host)
            await engine.images.initrd(record.kernel_files, directory, guest, operation)
            await afailpoint(BEFORE_RECORD)
            engine.records.add_image(record)
        return record

    def _check_places(self, wanted: Registration) -> None:
        """Refuse banger's own files: deleting an image or VM would take them away."""
        state = self._engine.paths.state.resolve()
        for path in (wanted.rootfs, wanted.kernel, wanted.initrd, wanted.modules):
            if path is not None and path.resolve().is_relative_to(state):
                raise UsageProblem(
                    f"{path} is a file of banger's own",
                    cause=f"what lies in {state} goes with its image or VM",
                    hints=["copy it elsewhere first", "banger image export NAME FILE"],
                )

    async def _named_kernel(
        self, wanted: Registration, directory: Path, operation: Operation
    ) -> tuple[KernelPin, HostFiles]:
        pin = await self._engine.chooser(operation).kernel(wanted.kernel_ref)
        kernel = await self._engine.kernels.place(pin, directory / "kernel", operation)
        return kernel, HostFiles(rootfs=wanted.rootfs)

    async def _host_kernel(
        self, wanted: Registration, directory: Path, operation: Operation
    ) -> tuple[KernelPin, HostFiles]:
        assert wanted.kernel is not None
        origin = with_neighbours(
            Origin(kernel=wanted.kernel, initrd=wanted.initrd, modules=wanted.modules)
        )
        host, files = await in_thread(
            operation, lambda: _take_in_place(wanted.rootfs, origin, directory, operation)
        )
        kernel = await pin_kernel(wanted.kernel.name, origin, files, operation)
        if host.packed:
            operation.notice(f"{wanted.kernel} is packed: machines boot an unpacked copy of it")
        return kernel, host

    async def promote(self, ref: str, operation: Operation) -> ImageRecord:
        """Copy the files of a registered image in, so that it depends on nothing outside.

        A managed image stays as it is. Raises HostNotReady when files have vanished, NoSpace, and
        UsageProblem when the file system is not what was registered.
        """
        engine = self._engine
        image_id = engine.images.find(ref).id
        async with engine.images.changing(image_id):
            image = engine.records.image(image_id)
            if image.host is None:
                operation.notice(f"{image.name} is managed already")
                return image
            check_files(image)
            size = image.host.rootfs.stat().st_blocks * 512
            check_space(image.directory, size, f"a copy of {image.host.rootfs}")
            try:
                managed = await self._copied(image, image.host, operation)
                await afailpoint(AFTER_COPY)
                engine.records.update_image(managed)
            except BaseException:
                await in_thread(operation, lambda: abandon_promotion(image))
                raise
            await in_thread(operation, lambda: remove_tree(image.unpacked_kernel.parent))
        return managed

    async def _copied(
        self, image: ImageRecord, host: HostFiles, operation: Operation
    ) -> ImageRecord:
        operation.step(f"copying {host.rootfs}")
        facts = await in_thread(operation, lambda: _copy_in(image, host, operation))
        return replace(
            image,
            host=None,
            disk_size=facts.size,
            content_size=facts.content_size,
            minimum_size=facts.minimum_size,
        )


def abandon_promotion(image: ImageRecord) -> None:
    """Remove what a promotion left that did not come to its end. Idempotent."""
    if image.host is not None:
        image.own_rootfs.unlink(missing_ok=True)
        if image.host.kernel is not None:
            remove_tree(image.own_kernel)


def _take_in_place(
    rootfs: Path, origin: Origin, directory: Path, operation: Operation
) -> tuple[HostFiles, KernelFiles]:
    """Check a kernel's files where they lie; only a packed kernel is unpacked to ``directory``."""
    assert origin.kernel is not None
    for path in (origin.kernel, origin.initrd):
        if path is not None:
            check_file(path)
    with origin.kernel.open("rb") as file:
        packed = file.read(4) != _ELF
    vmlinux = origin.kernel
    if packed:
        unpacked = secure_dir(directory / "unpacked")
        vmlinux = collect(Origin(kernel=origin.kernel), unpacked, operation.progress).vmlinux
    modules = origin.modules
    if modules is not None:
        modules = modules_of(modules, identify(vmlinux.read_bytes()).version)
    host = HostFiles(
        rootfs=rootfs,
        kernel=origin.kernel,
        initrd=origin.initrd,
        modules=modules,
        config=origin.config,
        packed=packed,
    )
    files = KernelFiles(
        vmlinux=vmlinux, initrd=origin.initrd, modules=modules, config=origin.config
    )
    return host, files


def _copy_in(image: ImageRecord, host: HostFiles, operation: Operation) -> RootfsFacts:
    abandon_promotion(image)
    with publishing(image.own_rootfs) as temporary:
        copy_sparse(host.rootfs, temporary, lambda *at: operation.progress("copying", *at))
        operation.step("checking the copy")
        facts = inspect_rootfs(temporary)
    if host.kernel is not None:
        copy_kernel(image, image.own_kernel, operation.progress)
    return facts


def _pin(wanted: Registration, image_id: str, kernel: KernelPin, size: int) -> ImagePin:
    # The file may change: what is pinned is this registration, not a content
    identity = f"{SOURCE}\0{image_id}\0{wanted.rootfs}"
    return ImagePin(
        source=SOURCE,
        ref=wanted.rootfs.as_uri(),
        name=wanted.name,
        digest=f"sha256:{hashlib.sha256(identity.encode()).hexdigest()}",
        architecture=kernel.architecture,
        size=size,
    )
