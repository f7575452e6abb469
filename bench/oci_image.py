"""From a reference in a registry to a finished, checked ext4: ours beside two other chains.

    python bench/oci_image.py [--images small,large,many] [--disk memory,real] [--runs N]

The registry runs on loopback and serves images that the bench makes itself, once, and keeps in
``--work``. Ours is what the daemon does for ``banger image pull``: resolve, fetch, layers, build.
The others are, as root, skopeo, umoci unpack and ``mkfs.ext4 -d``, and rootless, buildah and
``mkfs.ext4 -d`` (which loses device nodes); each ends with ``e2fsck -fn``, as ours does. All begin
with nothing in their caches and take turns. ``memory`` is /dev/shm, ``real`` the directory
``--real``. Times are medians; a ratio of 2 means that ours takes half the time.

Then: ours again with everything downloaded before; ours with an image that shares all layers but
one with another, from nothing and after that other; where the time of ours goes; and its memory
beside the budget of 64 MiB and 1 KiB for each file.
"""

from __future__ import annotations

import argparse
import getpass
import os
import pwd
import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from oci_parts.chains import Buildah, Taken, missing_packages, ours, remove, umoci
from oci_parts.made import make_image
from oci_parts.registry import push, registry
from oci_parts.stages import stages_of

MEMORY = Path("/dev/shm")
BENCH_USER = "banger-bench"

Chain = Callable[[Path, str], Taken]


@contextmanager
def empty_place(parent: Path) -> Iterator[Path]:
    """Give a new directory that other users can pass, and remove it with all it holds."""
    place = Path(tempfile.mkdtemp(prefix="banger-bench-", dir=parent))
    place.chmod(0o711)
    try:
        yield place
    finally:
        remove(place)


def find_chains(asked: argparse.Namespace) -> dict[str, Chain]:
    """Return what can be measured here, ours first; say what is left out and why."""
    chains: dict[str, Chain] = {"ours": ours}
    if os.geteuid() == 0:
        chains["umoci as root"] = umoci
    else:
        print("left out: skopeo and umoci, which need root for right owners")
    user = asked.user or (getpass.getuser() if os.geteuid() else BENCH_USER)
    try:
        pwd.getpwnam(user)
    except KeyError:
        print(f"left out: rootless buildah, there is no user for it: useradd --create-home {user}")
    else:
        with empty_place(asked.real) as place:
            buildah = Buildah.working(user, place)
        chains[f"buildah rootless ({buildah.driver})"] = buildah
    return chains


def take_turns(chains: dict[str, Chain], disk: Path, reference: str, runs: int) -> dict[str, Taken]:
    """Run every chain ``runs`` times, in an order that alternates; return medians."""
    taken: dict[str, list[Taken]] = {name: [] for name in chains}
    for number in range(runs):
        for name in list(chains)[:: -1 if number % 2 else 1]:
            with empty_place(disk) as place:
                os.sync()
                taken[name].append(chains[name](place, reference))
    return {name: median(several) for name, several in taken.items()}


def median(several: list[Taken]) -> Taken:
    """Return the median of every figure."""
    return Taken(
        statistics.median(one.wall for one in several),
        statistics.median(one.cpu for one in several),
        max(one.peak for one in several),
        {
            name: statistics.median(one.stages[name] for one in several)
            for name in several[0].stages
        },
    )


def again(disk: Path, first: str, second: str, runs: int) -> tuple[Taken, Taken]:
    """Pull ``first``, then ``second`` with the same cache; return both."""
    pairs = []
    for _ in range(runs):
        with empty_place(disk) as place:
            cache = place / "kept"
            os.sync()
            pairs.append((ours(place, first, cache), ours(place, second, cache)))
    firsts, seconds = zip(*pairs, strict=True)
    return median(list(firsts)), median(list(seconds))


def show(disk: str, image: str, results: dict[str, Taken]) -> None:
    """Print one image's rows and how much faster ours is."""
    mine = results["ours"]
    for name, taken in results.items():
        row = f"{taken.wall:8.2f} s {taken.cpu:8.2f} s {taken.peak:6.0f} MiB"
        ratio = "" if taken is mine else f"   RATIO {taken.wall / mine.wall:5.2f}"
        print(f"{disk:7} {image:6} {name:27}{row}{ratio}", flush=True)
    budget = 64 + mine.stages["inodes"] / 1024
    print(
        f"{'':15}ours: pull {mine.stages['pull']:.2f} s, write {mine.stages['write']:.2f} s,"
        f" seal {mine.stages['seal']:.2f} s; memory {mine.peak:.0f} of {budget:.0f} MiB",
        flush=True,
    )


def measure(asked: argparse.Namespace, address: str, made: Path) -> None:
    chains = find_chains(asked)
    print(f"{'disk':7} {'image':6} {'chain':27}{'wall':>10} {'processors':>10} {'peak':>10}")
    for disk in asked.disk:
        directory = MEMORY if disk == "memory" else asked.real
        for image in asked.images:
            reference = f"{address}/bench/{image}:1"
            push(made_apart(image, made), reference)
            show(disk, image, take_turns(chains, directory, reference, asked.runs))
            first, cached = again(directory, reference, reference, asked.runs)
            print(f"{'':15}with everything downloaded: RATIO to the first {part(cached, first)}")
        if "small" in asked.images:
            more = f"{address}/bench/more:1"
            push(made_apart("more", made), more)
            _, second = again(directory, f"{address}/bench/small:1", more, asked.runs)
            alone, _ = again(directory, more, more, asked.runs)
            print(
                f"{disk:7} small with a layer more: {alone.wall:.2f} s;"
                f" after small: RATIO to that {part(second, alone)}"
            )
    for image in asked.images:
        print(f"seconds of one processor in ours, {image}: {stages_of(make_image(image, made))}")


def made_apart(image: str, parent: Path) -> Path:
    """``make_image`` in a process of its own: the chains would inherit what it remembers."""
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        return apart.submit(make_image, image, parent).result()


def part(taken: Taken, whole: Taken) -> str:
    return f"{taken.wall / whole.wall:.2f} ({taken.wall:.2f} s)"


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=words, default=["small", "large", "many"])
    parser.add_argument("--disk", type=words, default=["memory", "real"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/banger-bench"))
    parser.add_argument("--real", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--user", help=f"whom buildah runs as (as root: {BENCH_USER})")
    asked = parser.parse_args()
    if missing := missing_packages():
        raise SystemExit(f"programs are missing: apt-get install {' '.join(missing)}")
    made = asked.work / "made"
    made.mkdir(parents=True, exist_ok=True)
    with registry(asked.work) as address:
        measure(asked, address, made)


if __name__ == "__main__":
    main()
