"""Layers to ext4: ours against unpacking the same archive and ``mke2fs -d``, in one run.

    python bench/rootfs_build.py [--files N] [--directory D] [--runs N]

The floor unpacks with GNU tar into a directory and lets mke2fs read it: fewer checks than ours
(no e2fsck, no checksums), and owners and devices only for root. Prints medians and their ratio; a
ratio below 1 means that ours is faster. Use /dev/shm to leave the disk out of it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from banger_core.model import Entry
from banger_core.packages import find_program
from banger_core.rootfs.build import build_rootfs
from banger_core.rootfs.tar import read_tar

SIZE = 8 << 30
PER_DIRECTORY = 100
SIZES = (0, 100, 1000, 5000, 20_000)


class TarLayer:
    digest = "sha256:" + "0" * 64

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> Iterator[Entry]:
        with self._path.open("rb") as stream:
            yield from read_tar(stream, whiteouts=True)


def make_archive(path: Path, files: int) -> None:
    chance = random.Random(1)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(files):
            if number % PER_DIRECTORY == 0:
                directory = tarfile.TarInfo(f"usr/d{number // PER_DIRECTORY}")
                directory.type, directory.mode, directory.mtime = tarfile.DIRTYPE, 0o755, 1.5e9
                archive.addfile(directory)
            info = tarfile.TarInfo(f"usr/d{number // PER_DIRECTORY}/file-{number}")
            info.size, info.mtime = chance.choice(SIZES), 1.7e9
            archive.addfile(info, io.BytesIO(chance.randbytes(info.size)))


def ours(archive: Path, place: Path) -> None:
    @contextlib.contextmanager
    def opened() -> Iterator[list[TarLayer]]:
        yield [TarLayer(archive)]

    build_rootfs(opened, place / "ours.ext4", size=SIZE, identity=b"bench")


def floor(archive: Path, place: Path) -> None:
    tree, image = place / "tree", place / "floor.ext4"
    tree.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", tree], check=True)
    with image.open("wb") as file:
        file.truncate(SIZE)
    command = [find_program("mke2fs"), "-q", "-F", "-t", "ext4", "-d", str(tree), str(image)]
    subprocess.run(command, check=True)
    descriptor = os.open(image, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def measure(work: Callable[[Path, Path], None], archive: Path, parent: Path) -> float:
    with tempfile.TemporaryDirectory(dir=parent) as place:
        began = time.perf_counter()
        work(archive, Path(place))
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=60_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.directory) as work:
        archive = Path(work) / "layer.tar"
        make_archive(archive, asked.files)
        times: dict[str, list[float]] = {"ours": [], "floor": []}
        for _ in range(asked.runs):
            times["ours"].append(measure(ours, archive, Path(work)))
            times["floor"].append(measure(floor, archive, Path(work)))
    medians = {name: statistics.median(values) for name, values in times.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{asked.files} files, {asked.runs} runs each, in {asked.directory}")
    for name, values in times.items():
        print(f"{name:6} {medians[name]:6.2f} s  (from {min(values):.2f} to {max(values):.2f})")
    print(f"ratio  {medians['ours'] / medians['floor']:6.2f}    peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
