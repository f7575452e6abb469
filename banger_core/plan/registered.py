"""Registered images: the user's own files, which may vanish at any time."""

from __future__ import annotations

from pathlib import Path

from banger_core.errors import HostNotReady
from banger_core.model import ImageRecord, KernelFiles


def vanished(image: ImageRecord) -> list[Path]:
    """Return the files of a registered image that are not there any more; none of others."""
    return [path for path in image.host.needed if not path.exists()] if image.host else []


def problem_of(image: ImageRecord) -> str:
    """Return one line on what keeps VMs from being made of ``image``, empty when nothing does."""
    gone = vanished(image)
    return f"{_listed(gone)} cannot be found" if gone else ""


def check_files(image: ImageRecord) -> None:
    """Raise HostNotReady when files that ``image`` is made of have vanished."""
    _refuse(image, vanished(image))


def check_kernel_files(image: ImageRecord, kernel: KernelFiles) -> None:
    """Raise HostNotReady when the kernel of a VM made of ``image`` has vanished. The VM's disk
    is its own.
    """
    used = (kernel.vmlinux, kernel.modules)
    _refuse(image, [path for path in used if path is not None and not path.exists()])


def _refuse(image: ImageRecord, gone: list[Path]) -> None:
    if gone:
        raise HostNotReady(
            f"the files of the image {image.name} are not there any more",
            cause=f"{_listed(gone)} cannot be found",
            hints=["put them back", f"banger image delete {image.name}"],
        )


def _listed(paths: list[Path]) -> str:
    return ", ".join(map(str, paths))
