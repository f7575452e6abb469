"""A kernel out of the packages that Debian and Ubuntu ship it in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.errors import HostileInput, UsageProblem
from banger_core.kernel.configuration import CONFIGURATION_MAX
from banger_core.kernel.deb import open_deb, read_content
from banger_core.kernel.intake import ModuleTree, Report, is_wanted
from banger_core.kernel.vmlinux import VMLINUX_MAX
from banger_core.model import EntryKind

if TYPE_CHECKING:
    from banger_core.model import Entry

_BOOT = re.compile(rb"boot/(vmlinuz|vmlinux|config)-([0-9][0-9A-Za-z.+~_-]{0,99})")
_MODULES = re.compile(rb"(?:usr/)?lib/modules/([0-9][0-9A-Za-z.+~_-]{0,99})/([^\0]+)")


@dataclass(slots=True)
class PackagedKernel:
    """What was found: the image and the configuration as they are, and the kernel's release."""

    release: str = ""
    image: bytes = b""
    config: bytes = b""


def unpack_packages(packages: Sequence[Path], modules: Path, report: Report) -> PackagedKernel:
    """Take a kernel out of package files; its modules go into the new directory ``modules``.

    Ubuntu has the image, the modules and more modules in packages of their own: all of them are
    given together. Raises UsageProblem when they hold no kernel, or different ones; and what
    ``open_deb`` raises.
    """
    found, tree = PackagedKernel(), ModuleTree(modules)
    for package in packages:
        with open_deb(package) as entries:
            for entry in entries:
                report(f"unpacking {package.name}", tree.size, 0)
                if entry.kind is EntryKind.FILE:
                    _take(entry, found, tree)
    if not found.image:
        names = ", ".join(package.name for package in packages)
        raise UsageProblem(
            f"there is no kernel in {names}",
            cause="no file is boot/vmlinuz-VERSION; linux-image-amd64 and its like only name one",
            hints=["give the package that it depends on, linux-image-VERSION"],
        )
    return found


def _take(entry: Entry, found: PackagedKernel, tree: ModuleTree) -> None:
    if part := _BOOT.fullmatch(entry.path):
        _same_release(found, part[2])
        if part[1] == b"config":
            found.config = read_content(entry, CONFIGURATION_MAX)
        else:
            found.image = read_content(entry, VMLINUX_MAX)
    elif part := _MODULES.fullmatch(entry.path):
        name = part[2].decode("utf-8", "replace")
        if is_wanted(name):
            _same_release(found, part[1])
            tree.write(name, _bytes(entry))


def _same_release(found: PackagedKernel, release: bytes) -> None:
    name = release.decode()
    if found.release not in ("", name):
        raise UsageProblem(
            "the packages are of different kernels",
            cause=f"one is {found.release}, another {name}",
            hints=["give packages of one version"],
        )
    found.release = name


def _bytes(entry: Entry) -> Iterator[bytes]:
    if entry.data is None:
        raise HostileInput("a package has a file without content", hints=["fetch it again"])
    for chunk in entry.data:
        yield bytes(chunk)
