"""Sizes and counts of a VM: defaults, and what is refused before anything is made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from banger_core.errors import NoSpace, UsageProblem
from banger_core.model import Publish
from banger_core.sizes import format_size, size_argument

MEMORY_FLOOR = 64 << 20
"""Less than this, and a kernel with its initramfs does not come up (bytes)."""

VCPU_CEILING = 64
DISK_CEILING = 16 << 40
WORK_DISK_FLOOR = 64 << 20

TABLES = 50
"""An ext4 file system's tables take less than one part in so many of it."""

SPARE = 16 << 20
"""What must be free besides (bytes)."""

_OPTIONS = {"disk": "disk-size", "work-disk": "work-disk"}

HIDDEN = 4
"""No image keeps less than one part in so many of what its layers bring."""


def check_vcpu(count: int) -> int:
    """Return ``count`` when the host can give that many virtual CPUs. Raises UsageProblem."""
    ceiling = min(VCPU_CEILING, 4 * (os.cpu_count() or 1))
    if not 1 <= count <= ceiling:
        raise UsageProblem(
            f"{count} virtual CPUs are not possible",
            cause=f"this host gives a VM between 1 and {ceiling}",
            hints=["--vcpu 1"],
        )
    return count


def check_memory(size: int) -> int:
    """Return ``size`` bytes, rounded down to whole MiB. Raises UsageProblem when the host does
    not have it or nothing could run in it.
    """
    total = host_memory()
    if size < MEMORY_FLOOR:
        raise UsageProblem(
            f"{format_size(size)} of memory is too little to boot",
            cause=f"a guest needs at least {format_size(MEMORY_FLOOR)}",
            hints=["--memory 256M"],
        )
    if size > total:
        raise UsageProblem(
            f"{format_size(size)} of memory is more than this host has",
            cause=f"it has {format_size(total)}",
            hints=[f"--memory {size_argument(total // 8 >> 20 << 20)}"],
        )
    return size >> 20 << 20


def check_disk(size: int, least: int) -> int:
    """Return ``size`` bytes, rounded up to whole MiB. ``least`` is what the image needs.

    Raises UsageProblem when the image does not fit, or no host has such a disk.
    """
    if size < least:
        raise UsageProblem(
            f"a disk of {format_size(size)} is smaller than the image",
            cause=f"the image needs at least {format_size(least)}",
            hints=[f"--disk-size {size_argument(least)}"],
        )
    if size > DISK_CEILING:
        raise UsageProblem(
            f"a disk of {format_size(size)} is not possible",
            cause=f"the largest is {format_size(DISK_CEILING)}",
            hints=["--disk-size 8G"],
        )
    return -(-size >> 20) << 20


def check_work_disk(size: int) -> int:
    """Return ``size`` bytes, rounded up to whole MiB; 0 stays 0: no work disk. Raises
    UsageProblem for one that holds no file system, or that no host has.
    """
    if 0 < size < WORK_DISK_FLOOR or size < 0:
        raise UsageProblem(
            f"a work disk of {format_size(size)} is too small",
            cause=f"the smallest is {format_size(WORK_DISK_FLOOR)}",
            hints=["--work-disk 1G"],
        )
    return check_disk(size, 0)


def check_growth(name: str, old: int, new: int, directory: Path) -> int:
    """Return ``new`` bytes, rounded up to whole MiB, when a disk of ``old`` bytes in ``directory``
    can become that large. ``name`` is ``disk`` or ``work-disk``. Raises UsageProblem for less
    than it is, and NoSpace where the larger file system's own tables would not fit.
    """
    if new < old:
        raise UsageProblem(
            f"a {name.replace('-', ' ')} of {format_size(old)} cannot become {format_size(new)}",
            cause="disks only grow: what is on them could be lost",
            hints=[f"--{_OPTIONS[name]} {size_argument(old)}"],
        )
    size = check_disk(new, old)
    check_space(directory, (size - old) // TABLES + SPARE, f"the tables of a larger {name}")
    return size


def check_ports(publish: Iterable[Publish]) -> None:
    """Raise UsageProblem when ports cannot be published as asked."""
    seen: dict[tuple[int, str], Publish] = {}
    for wanted in publish:
        for number in (wanted.host_port, wanted.guest_port):
            if not 1 <= number <= 65535:
                raise UsageProblem(
                    f"there is no port {number}",
                    cause="ports are numbers from 1 to 65535",
                    hints=["--publish 8080:80"],
                )
        other = seen.setdefault((wanted.host_port, wanted.protocol), wanted)
        if other is not wanted:
            raise UsageProblem(
                f"--publish {other} and --publish {wanted} want the same port",
                cause=f"port {wanted.host_port} of the machine's address can lead to one place",
                hints=[f"--publish {wanted.host_port + 1}:{wanted.guest_port}"],
            )


def check_estimate(size: int, estimate: int, ref: str, option: str = "--disk-size") -> None:
    """Raise UsageProblem when a disk of ``size`` bytes is certainly too small for an image that
    is not here yet and has about ``estimate`` bytes (0: unknown). ``option`` asked for it.

    An estimate counts what upper layers replace and remove, so that the content may be a good
    deal smaller: only a disk of less than a quarter of it is refused. What the image really
    needs is checked once it is here.
    """
    if size < estimate // HIDDEN:
        raise UsageProblem(
            f"a disk of {format_size(size)} is too small for {ref[:255]}",
            cause=f"the image has about {format_size(estimate)}",
            hints=[f"{option} {size_argument(2 * estimate)}"],
        )


def check_space(
    directory: Path,
    needed: int,
    what: str,
    *,
    where: str = "banger image list, then banger image delete NAME",
) -> None:
    """Raise NoSpace when ``directory``'s file system has less than ``needed`` bytes left for
    ``what``. Nothing is reserved: a full disk is still met where it is written. ``where`` is the
    command that shows what could go.
    """
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise NoSpace(
            f"there is too little space for {what}",
            cause=f"about {format_size(needed)} are needed in {directory}, "
            f"{format_size(free)} are free",
            hints=[f"df -h {directory}", where],
        )


def host_memory() -> int:
    """Physical memory of this host in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
