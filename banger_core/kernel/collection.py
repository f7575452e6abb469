"""From wherever a kernel lies to the files of the catalogue's layout."""

from __future__ import annotations

from pathlib import Path

from banger_core.errors import UsageProblem
from banger_core.kernel.configuration import CONFIGURATION_MAX
from banger_core.kernel.identity import identify
from banger_core.kernel.intake import (
    INITRD_MAX,
    Report,
    check_file,
    read_file,
    take_file,
    take_modules,
)
from banger_core.kernel.origin import Origin, modules_of
from banger_core.kernel.package import unpack_packages
from banger_core.kernel.vmlinux import VMLINUX_MAX, extract_vmlinux
from banger_core.model import KernelFiles
from banger_core.store.content import room_in, write_atomic


def collect(origin: Origin, into: Path, report: Report) -> KernelFiles:
    """Copy what ``origin`` names into the empty directory ``into`` and return it.

    Raises UsageProblem for what is no kernel, IntegrityError and HostileInput for packages that
    are not what they should be, HostNotReady for what cannot be read, and NoSpace.
    """
    take = _packages if origin.packages else _files
    with room_in(into):
        take(origin, into, report)
    return KernelFiles.in_directory(into)


def _files(origin: Origin, into: Path, report: Report) -> None:
    assert origin.kernel
    report(f"reading {origin.kernel.name}", 0, 0)
    image = read_file(origin.kernel, VMLINUX_MAX, follow=origin.follow)
    release = _write_kernel(image, into, str(origin.kernel))
    if origin.initrd is not None:
        take_file(origin.initrd, into / "initrd.img", INITRD_MAX, follow=origin.follow)
    if origin.config is not None:
        take_file(origin.config, into / "config", CONFIGURATION_MAX, follow=origin.follow)
    if origin.modules is not None:
        take_modules(modules_of(origin.modules, release), into / "modules", report)


def _packages(origin: Origin, into: Path, report: Report) -> None:
    for package in origin.packages:
        check_file(package)
    found = unpack_packages(origin.packages, into / "modules", report)
    _write_kernel(found.image, into, origin.packages[0].name)
    if found.config:
        write_atomic(into / "config", found.config)


def _write_kernel(image: bytes, into: Path, name: str) -> str:
    """Write the ELF kernel inside ``image`` and return its release."""
    try:
        kernel = extract_vmlinux(image)
    except UsageProblem as problem:
        raise UsageProblem(
            f"{name}: {problem.summary}", cause=problem.cause, hints=problem.hints
        ) from problem
    write_atomic(into / "vmlinux", kernel)
    return identify(kernel).version
