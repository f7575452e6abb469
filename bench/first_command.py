"""Time to the first command of a prepared image, beside a hand-written QEMU script.

    python bench/first_command.py [IMAGE_DIR] [--runs N] [--many N]

Without IMAGE_DIR, the newest image of banger's own state is taken, and ``banger vm run`` is
measured beside the script: cold, and warm (a machine that is saved for it is made first, when there
is none). IMAGE_DIR holds ``vmlinux`` (or ``kernel/vmlinux``), ``rootfs.ext4`` and either an
``initrd-*.cpio`` of this guest runtime (as the images in banger's state do), or ``modules/``,
``programs/`` and ``libs/`` to make one of. All sides boot the same kernel, initramfs and root file
system under emulation, wait for the guest's own word that it listens, and run ``echo`` over SSH;
the clock runs from the start of the script, or of ``banger vm run``, to the first byte of output.
Medians; the sides take turns.

With ``--many N``, N machines are started at once instead, three in flight, and stay: seconds until
the last one has run its first command, and the memory that they take together, cold and warm.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vm_parts import BANGER

from banger_core.config.paths import Paths
from banger_core.engine.run import run
from banger_core.guest.hostkey import make_host_key
from banger_core.guest.initrd import build_initrd
from banger_core.guest.seed import SeedConfig, write_seed
from banger_core.model import GuestFiles, KernelFiles
from banger_qemu.tsc import host_tsc_khz

SCRIPT = Path(__file__).with_name("first_command.sh")
LIMIT = 120.0
IN_FLIGHT = 3
MACHINE = ("--accel", "tcg", "--vcpu", "1", "--memory", "512M")


@dataclass(frozen=True)
class Parts:
    """What both sides boot."""

    kernel: Path
    initrd: Path
    disk: Path


def newest_image() -> Path:
    """Return the directory of the image that was pulled last."""
    kept = Paths.from_environment().images.glob("*/rootfs.ext4")
    try:
        return max(kept, key=lambda path: path.stat().st_mtime).parent
    except ValueError:
        raise SystemExit("there is no image yet: banger image pull debian://bookworm") from None


def find_parts(directory: Path, work: Path) -> Parts:
    """Take the parts of an image directory; make the initramfs where there is none."""
    initrd = next(directory.glob("initrd-*.cpio"), None)
    if initrd is None:
        initrd = work / "initrd.cpio"
        libraries = {path.name: path for path in (directory / "libs").iterdir()}
        files = GuestFiles(
            programs={path.name: path for path in (directory / "programs").iterdir()},
            libraries=libraries,
            loader=next(name for name in libraries if name.startswith("ld-")),
        )
        kernel = KernelFiles(vmlinux=directory / "vmlinux", modules=directory / "modules")
        build_initrd(files, kernel, initrd)
    holder = next(
        place for place in (directory / "kernel", directory) if (place / "vmlinux").is_file()
    )
    return Parts(holder / "vmlinux", initrd, directory / "rootfs.ext4")


def seconds_to_output(argv: Sequence[str | Path], env: Mapping[str, str]) -> float:
    """Start a program; return the seconds until its first byte of stdout. It ends by itself."""
    begun = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env) as child:
        assert child.stdout
        first = child.stdout.read(1)
        elapsed = time.monotonic() - begun
        child.stdout.read()
        status = child.wait(LIMIT)
    if not first or status:
        raise SystemExit(f"{argv[0]} failed with status {status}")
    return elapsed


def by_hand(parts: Parts, work: Path) -> float:
    """One run of the script; keys, seed and disk are made before the clock starts."""
    key, disk, seed = work / "id", work / "disk", work / "seed"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    subprocess.run(["cp", "--sparse=always", parts.disk, disk], check=True)
    private, public = asyncio.run(make_host_key(run, work))
    (work / "known_hosts").write_text(f"vm {public}\n")
    config = SeedConfig(
        hostname="vm",
        host_key=private,
        authorized_keys=(key.with_suffix(".pub").read_text(),),
        epoch=time.time(),
        address="10.0.2.15/24",
        gateway="10.0.2.2",
        nameserver="10.0.2.3",
    )
    write_seed(seed, config)
    env = {
        **os.environ,
        "KERNEL": str(parts.kernel),
        "INITRD": str(parts.initrd),
        "DISK": str(disk),
        "SEED": str(seed),
        "KEY": str(key),
        "KNOWN_HOSTS": str(work / "known_hosts"),
        "PORT": str(_free_port()),
        "TSC_KHZ": str(host_tsc_khz()),
    }
    return seconds_to_output(["sh", SCRIPT, "echo first"], env)


def by_banger(*options: str) -> float:
    """One run of the product, with an image that is already here."""
    argv = [BANGER, "vm", "run", "--rm", "-q", *MACHINE, *options, "--", "echo", "first"]
    return seconds_to_output(argv, os.environ)


def banger(*words: str) -> str:
    """Run a command of the product that must succeed; return what it writes."""
    done = subprocess.run([BANGER, *words], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def warm_up() -> None:
    """See that there is a machine to begin as."""
    deadline = time.monotonic() + LIMIT
    name = f"bench-{os.getpid()}"
    try:
        while not json.loads(banger("vm", "run", "-d", "-q", "--json", *MACHINE, "--name", name))[
            "warm"
        ]:
            if time.monotonic() > deadline:
                raise SystemExit("no machine is saved for warm starts: banger daemon logs")
            banger("vm", "delete", "--force", "-q", name)
            time.sleep(2)
    finally:
        subprocess.run([BANGER, "vm", "delete", "--force", "-q", name], check=False)


def many(count: int, *options: str) -> tuple[float, int]:
    """Start so many machines, three in flight; return the seconds until all have run a command,
    and the memory of their processes together (bytes; what is shared is counted once).
    """
    names = [f"bench-{os.getpid()}-{number}" for number in range(count)]

    def first_command(name: str) -> None:
        banger("vm", "run", "-d", "-q", *MACHINE, *options, "--name", name)
        banger("vm", "exec", name, "--", "true")

    begun = time.monotonic()
    try:
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            list(pool.map(first_command, names))
        elapsed = time.monotonic() - begun
        running = [vm for vm in json.loads(banger("vm", "list", "--json")) if vm["name"] in names]
        return elapsed, sum(_memory(vm["pid"]) for vm in running)
    finally:
        subprocess.run([BANGER, "vm", "delete", "--force", "-q", *names], check=False)


def _memory(pid: int) -> int:
    """The proportional set size (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    raise SystemExit(f"/proc/{pid}/smaps_rollup has no Pss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("image", type=Path, nargs="?", metavar="IMAGE_DIR")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--many", type=int, default=0, metavar="N")
    options = parser.parse_args()
    if options.many:
        compare_many(options.many)
    else:
        compare(options.image, options.runs)


def compare(image: Path | None, runs: int) -> None:
    """Print the medians of all sides, and their ratios."""
    directory = image or newest_image()
    if image is None:
        warm_up()
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        work = Path(place)
        parts = find_parts(directory, work)
        hand, cold, warm = [], [], []
        for _ in range(runs):
            hand.append(by_hand(parts, work))
            if image is None:
                cold.append(by_banger("--cold"))
                warm.append(by_banger())
    report("by hand", hand)
    if cold:
        report("vm run --cold", cold)
        report("vm run", warm)
        print(f"cold / hand    {statistics.median(cold) / statistics.median(hand):.2f}")
        print(f"warm / cold    {statistics.median(warm) / statistics.median(cold):.2f}")


def compare_many(count: int) -> None:
    """Print what many machines take, cold and warm, and the ratios."""
    warm_up()
    cold, warm = many(count, "--cold"), many(count)
    for name, (elapsed, memory) in {"cold": cold, "warm": warm}.items():
        each = memory / count / (1 << 20)
        print(f"{count} machines, {name}  {elapsed:.1f} s, {each:.0f} MiB each")
    ratios = [ours / theirs for ours, theirs in zip(warm, cold, strict=True)]
    print("warm / cold       {:.2f} of the time, {:.2f} of the memory".format(*ratios))


def report(name: str, times: list[float]) -> None:
    spread = f"{min(times):.2f} … {max(times):.2f}"
    print(f"{name:14} {statistics.median(times):.2f} s  ({spread}, {len(times)} runs)")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
