"""Kernels of Debian, made ready for a direct boot."""

from __future__ import annotations

import platform
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from banger_core.api import (
    HostileInput,
    IntegrityError,
    KernelEntry,
    KernelFiles,
    KernelPin,
    NotFound,
    Unreachable,
    blob_path,
    extract_vmlinux,
    in_thread,
    open_deb,
    read_content,
    room_in,
    write_atomic,
)
from banger_debian.archive import Archive
from banger_debian.memory import recall, remember
from banger_debian.modules import ModuleTree
from banger_debian.packages import Package
from banger_debian.suites import SUITES, check_architecture

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.api import Context

_FLAVOURS = {
    "cloud": ("linux-image-cloud-{}", "small, for virtual machines"),
    "generic": ("linux-image-{}", "every driver that Debian has"),
    "rt": ("linux-image-rt-{}", "every driver, and a fully preemptible scheduler"),
}
_IMAGE_MAX = 128 << 20
_CONFIG_MAX = 1 << 20
_DEPENDENCY = re.compile(r"(linux-image-([0-9][a-z0-9.+~-]*))(?: \(= ([^)\s]+)\))?")


class DebianKernels:
    """The kernel provider ``debian``: ``SUITE-cloud``, ``SUITE-generic`` and ``SUITE-rt``."""

    async def available(self, cx: Context) -> list[KernelEntry]:
        """List the kernels by name; asks nobody, so versions are not known."""
        del cx
        architecture = check_architecture(platform.machine())
        return [
            KernelEntry(
                name=f"{suite}-{flavour}",
                distro="debian",
                architecture=architecture,
                description=f"Debian {suite}: {what}",
            )
            for suite in SUITES
            for flavour, (_, what) in _FLAVOURS.items()
        ]

    async def resolve(self, name: str, cx: Context) -> KernelPin:
        """Find the newest version in the archive.

        Without a network it is the one that was resolved before, when it is still in the cache.
        Raises NotFound, Unreachable and IntegrityError.
        """
        suite, _, flavour = name.partition("-")
        if suite not in SUITES or flavour not in _FLAVOURS:
            names = [entry.name for entry in await self.available(cx)]
            raise NotFound("kernel", name, names, hints=["banger kernel list --available"])
        architecture = check_architecture(platform.machine())
        key = f"kernel-{name}-{architecture}"
        try:
            async with Archive(cx, suite, architecture) as archive:
                package = await _newest_kernel(archive, _FLAVOURS[flavour][0].format(architecture))
        except Unreachable:
            known = recall(cx, key)
            if known is None:
                raise
            package = Package(**known[0])
            if not blob_path(cx.cache_dir, package.digest).is_file():
                raise
            cx.log.warning("%s: no answer from the mirror, using the one in the cache", name)
        remember(cx, key, asdict(package))
        return _pin(name, architecture, package)

    async def materialise(self, pin: KernelPin, into: Path, cx: Context) -> KernelFiles:
        """Write ``vmlinux``, ``modules/`` and ``config`` into the empty directory ``into``.

        Raises Unreachable, IntegrityError, HostileInput and NoSpace.
        """
        package = Package(**pin.data)
        suite = pin.name.partition("-")[0]
        async with Archive(cx, suite, pin.architecture) as archive:
            (deb,) = await archive.fetch([package], f"kernel {pin.version}")
        return await in_thread(_unpack, deb, pin, into, cx)


async def _newest_kernel(archive: Archive, metapackage: str) -> Package:
    """Follow the metapackage's dependency to the package that holds the kernel."""
    meta = (await archive.newest([metapackage]))[metapackage]
    wanted = _DEPENDENCY.fullmatch(meta.depends.split(",")[0].strip())
    if not wanted:
        raise HostileInput(
            f"{metapackage} leads to no kernel", cause=f"Depends: {meta.depends[:120]!r}"
        )
    versions = (await archive.versions([wanted[1]]))[wanted[1]]
    for package in versions:
        if package.version == (wanted[3] or meta.version):
            return package
    raise NotFound("kernel package", f"{wanted[1]} {wanted[3]}", [one.version for one in versions])


def _pin(name: str, architecture: str, package: Package) -> KernelPin:
    return KernelPin(
        provider="debian",
        name=name,
        version=package.name.removeprefix("linux-image-"),
        distro="debian",
        architecture=architecture,
        digest=package.digest,
        size=package.size,
        source=package.url,
        data=asdict(package),
    )


def _unpack(deb: Path, pin: KernelPin, into: Path, cx: Context) -> KernelFiles:
    modules = ModuleTree(into / "modules", pin.version)
    kernel, configuration = (
        f"boot/{name}-{pin.version}".encode() for name in ("vmlinuz", "config")
    )
    image = b""
    with open_deb(deb) as entries, room_in(into):
        for entry in entries:
            cx.progress(f"unpacking kernel {pin.version}", modules.written, 0)
            if entry.path == kernel:
                image = read_content(entry, _IMAGE_MAX)
            elif entry.path == configuration:
                write_atomic(into / "config", read_content(entry, _CONFIG_MAX))
            else:
                modules.take(entry)
    if not image or not modules.written:
        raise IntegrityError(
            f"{pin.data['filename'].rpartition('/')[2]} is not the kernel {pin.version}",
            cause=f"it has no {'modules' if image else kernel.decode()}",
        )
    write_atomic(into / "vmlinux", extract_vmlinux(image))
    return KernelFiles.in_directory(into)
