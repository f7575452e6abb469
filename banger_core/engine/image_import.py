"""Images out of bundles: fetched, checked to the last byte, and only then an image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from banger_core.bundle.manifest import Manifest
from banger_core.bundle.parts import copy_parts
from banger_core.bundle.predecessor import (
    DOCUMENT,
    DOCUMENT_MAX,
    Gathered,
    gather_archive,
    gather_directory,
    read_runtime_bundle,
)
from banger_core.bundle.unpack import peek, unpack_bundle
from banger_core.config.paths import secure_dir
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.image_new import check_new_name, new_image, record_of
from banger_core.engine.kernel_import import pin_kernel
from banger_core.engine.operations import Operation, in_thread
from banger_core.errors import IntegrityError, UsageProblem
from banger_core.kernel.collection import collect
from banger_core.kernel.intake import check_file, read_file
from banger_core.kernel.origin import Origin
from banger_core.model import ImageConfig, ImagePin, ImageRecord, KernelFiles
from banger_core.plan.choose import host_architecture
from banger_core.plan.limits import check_space
from banger_core.rootfs.inspect import inspect_rootfs
from banger_core.rootfs.partial import publishing
from banger_core.rootfs.stream import read_file as chunks_of

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

AFTER_INTENT = register("import.after_intent", "an imported image is announced, nothing is there")
AFTER_FILES = register("import.after_files", "an imported image's files are there, not checked")
BEFORE_RECORD = register("import.before_record", "an imported image is complete, not recorded")

SOURCE = "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What came out of a bundle, besides the files: ``digest`` stands for all of them."""

    name: str
    kernel_name: str
    digest: str
    config: ImageConfig = field(default_factory=ImageConfig)
    origin: str = ""


class Importer:
    """Imports bundles for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def take(
        self, source: str, operation: Operation, *, sha256: str = "", name: str = ""
    ) -> ImageRecord:
        """Make an image of the bundle ``source``: an absolute path, or a URL (HTTPS, HTTP of this
        host, ``file``). ``sha256`` (hexadecimal) is what the file must have; ``name`` what the
        image is called, unless the bundle's own name is to be taken.

        Raises Conflict for a taken name, Unreachable, IntegrityError and HostileInput for what is
        not what it should be, UsageProblem for another architecture, and NoSpace.
        """
        if name:
            check_new_name(self._engine, name)
        with self._engine.scratch("import") as scratch:
            place = await self._here(source, sha256, scratch, operation)
            if place.is_dir() or place.name == DOCUMENT:
                directory = place if place.is_dir() else place.parent
                found = await in_thread(operation, lambda: gather_directory(directory))
                return await self._gathered(found, source, name or directory.name, operation)
            if place.suffix == ".toml":
                return await self._runtime(place, source, name, scratch, operation)
            if ours := await in_thread(operation, lambda: peek(place)):
                return await self._bundle(place, ours, source, name, operation)
            into = secure_dir(scratch / "parts")
            found = await in_thread(
                operation, lambda: gather_archive(place, into, operation.progress)
            )
            return await self._gathered(found, source, name or _stem(source), operation)

    async def _here(self, source: str, sha256: str, scratch: Path, operation: Operation) -> Path:
        """The file itself, verified as a whole where its digest is known."""
        parts = urlsplit(source)
        if parts.scheme in ("http", "https"):
            operation.step(f"fetching {source}")
            # Loaded here: nothing else of the daemon needs what speaks HTTP to others
            from banger_core.bundle.fetch import download

            into = scratch / f"fetched{Path(parts.path).suffix[:8]}"
            return await download(source, into, sha256, operation.progress)
        path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(source)
        if not path.is_absolute():
            raise UsageProblem(
                f"{source} is nothing that can be imported",
                cause="give https://HOST/PATH, or the path of a file",
                hints=[f"ls -l {source}"],
            )
        if path.is_dir() or path.name == DOCUMENT:
            if sha256:
                raise UsageProblem(
                    "--sha256 is of one file",
                    cause=f"{path} is a directory's",
                    hints=["leave --sha256 away"],
                )
            return path
        check_file(path)
        if sha256:
            operation.step(f"checking {path}")
            await in_thread(operation, lambda: _compare(path, sha256, operation))
        return path

    async def _runtime(
        self, place: Path, source: str, name: str, scratch: Path, operation: Operation
    ) -> ImageRecord:
        """Fetch and unpack the archive that a ``runtime-bundle.toml`` names."""
        runtime = read_runtime_bundle(read_file(place, DOCUMENT_MAX, follow=True), place.name)
        wanted = runtime.url
        if not urlsplit(wanted).scheme and not urlsplit(source).scheme:
            wanted = str(place.parent / wanted)
        inner = secure_dir(scratch / "archive")
        archive = await self._here(wanted, runtime.sha256, inner, operation)
        into = secure_dir(scratch / "parts")
        found = await in_thread(
            operation,
            lambda: gather_archive(archive, into, operation.progress, runtime=runtime),
        )
        version = re.sub(r"[^A-Za-z0-9._-]+", "-", runtime.version)[:60]
        return await self._gathered(found, wanted, name or f"{_stem(wanted)}-{version}", operation)

    async def _bundle(
        self, place: Path, found: tuple[Manifest, str], source: str, name: str, operation: Operation
    ) -> ImageRecord:
        """One of banger's own bundles: straight into the image's directory."""
        manifest, digest = found
        name = name or manifest.name
        _check_architecture(manifest.architecture)
        check_new_name(self._engine, name)
        check_space(self._engine.paths.state, manifest.space, f"the image {name}")

        def work(directory: Path) -> _Taken:
            unpack_bundle(place, directory, digest, operation.progress)
            return _Taken(
                name=name,
                kernel_name=manifest.kernel.name,
                digest=digest,
                config=manifest.config.config(),
                origin=manifest.origin,
            )

        return await self._make(work, source, operation)

    async def _gathered(
        self, found: Gathered, source: str, name: str, operation: Operation
    ) -> ImageRecord:
        """What the predecessor packaged: copied out of where it lies now."""
        check_new_name(self._engine, name)
        needed = found.rootfs.stat().st_blocks * 512
        check_space(self._engine.paths.state, needed, f"the image {name}")
        if found.description.dropped:
            told = ", ".join(found.description.dropped)
            operation.notice(f"its defaults are not taken over, they are options here: {told}")

        def work(directory: Path) -> _Taken:
            size = found.rootfs.stat().st_size
            with publishing(directory / "rootfs.ext4") as temporary:
                digest = copy_parts(
                    found.rootfs, temporary, lambda at: operation.progress("copying", at, size)
                )
            collect(found.kernel, secure_dir(directory / "kernel"), operation.progress)
            assert found.kernel.kernel is not None
            return _Taken(
                name=name,
                kernel_name=found.description.kernel.rpartition("/")[2],
                digest=f"sha256:{digest.hexdigest()}",
            )

        return await self._make(work, source, operation)

    async def _make(
        self, work: Callable[[Path], _Taken], source: str, operation: Operation
    ) -> ImageRecord:
        """Let ``work`` put the files into a new image's directory, check them, and record it."""
        engine = self._engine
        ref = source if urlsplit(source).scheme else Path(source).as_uri()
        guest = await engine.chooser(operation).guest()
        operation.step(f"unpacking {source}")
        async with new_image(engine) as directory:
            await afailpoint(AFTER_INTENT)
            taken = await in_thread(operation, lambda: work(directory))
            await afailpoint(AFTER_FILES)
            files = KernelFiles.in_directory(directory / "kernel")
            origin = Origin(kernel=files.vmlinux)
            kernel = await pin_kernel(taken.kernel_name, origin, files, operation)
            operation.step("checking the root file system")
            rootfs = directory / "rootfs.ext4"
            try:
                facts = await in_thread(operation, lambda: inspect_rootfs(rootfs))
            except UsageProblem as problem:
                raise IntegrityError(
                    f"{source} is not imported",
                    cause=f"its root file system cannot be one: {problem.cause}",
                ) from problem
            await engine.images.initrd(files, directory, guest, operation)
            pin = ImagePin(
                source=SOURCE,
                ref=ref,
                name=taken.name,
                digest=taken.digest,
                architecture=kernel.architecture,
                size=facts.content_size,
                config=taken.config,
                data={"origin": taken.origin},
            )
            record = record_of(
                directory, taken.name, pin, replace(kernel, provider=SOURCE, source=ref), facts
            )
            await afailpoint(BEFORE_RECORD)
            engine.records.add_image(record)
        return record


def _compare(path: Path, sha256: str, operation: Operation) -> None:
    from banger_core.bundle.fetch import wrong_digest

    found, done, size = hashlib.sha256(), 0, path.stat().st_size
    for chunk in chunks_of(path):
        found.update(chunk)
        done += len(chunk)
        operation.progress("checking the file", done, size)
    if found.hexdigest() != sha256:
        raise wrong_digest(str(path), found.hexdigest(), sha256)


def _check_architecture(architecture: str) -> None:
    native = host_architecture()
    if architecture != native:
        raise UsageProblem(
            f"the bundle is for linux/{architecture}, and this host is linux/{native}",
            cause="a machine runs the processor's own code: banger emulates no other processor",
            hints=[f"export the image on a host that is linux/{native}"],
        )


def _stem(source: str) -> str:
    """A name for an image, from that of its file."""
    name = unquote(urlsplit(source).path).rstrip("/").rpartition("/")[2]
    return re.sub(r"\.(tar(\.\w+)?|tgz|tzst|toml)$", "", name) or "bundle"
