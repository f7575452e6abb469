"""The kernel provider: kernels that lie in a directory of its own, ``NAME/vmlinux``."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from banger_core.api import Context, IntegrityError, KernelEntry, KernelFiles, KernelPin, NotFound


class FrozenKernels:
    """Put your own way of finding and fetching kernels in the place of ``cx.state_dir``."""

    async def available(self, cx: Context) -> list[KernelEntry]:
        """List what there is, without the network where that is possible."""
        return [_entry(_pin(kernel)) for kernel in sorted(cx.state_dir.glob("*/vmlinux"))]

    async def resolve(self, name: str, cx: Context) -> KernelPin:
        """Say exactly which kernel ``name`` is now. Raises NotFound with the names there are."""
        known = {kernel.parent.name: kernel for kernel in cx.state_dir.glob("*/vmlinux")}
        if name not in known:
            raise NotFound("kernel", name, known)
        return _pin(known[name])

    async def materialise(self, pin: KernelPin, into: Path, cx: Context) -> KernelFiles:
        """Write the pinned kernel into the empty directory ``into``, verified."""
        vmlinux = into / "vmlinux"
        shutil.copyfile(cx.state_dir / pin.name / "vmlinux", vmlinux)
        if _digest(vmlinux) != pin.digest:
            raise IntegrityError(f"kernel {pin.name} is not what was pinned")
        return KernelFiles(vmlinux=vmlinux)


def _pin(kernel: Path) -> KernelPin:
    name = kernel.parent.name
    return KernelPin(
        provider="frozen",
        name=name,
        version=name,
        distro="frozen",
        architecture="amd64",
        digest=_digest(kernel),
        size=kernel.stat().st_size,
        source=str(kernel),
    )


def _entry(pin: KernelPin) -> KernelEntry:
    return KernelEntry(
        name=pin.name,
        distro=pin.distro,
        architecture=pin.architecture,
        version=pin.version,
        digest=pin.digest,
        source=pin.source,
        size=pin.size,
    )


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
