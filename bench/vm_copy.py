"""``banger vm cp`` beside OpenSSH's scp and sftp: the same machine, connection, options and files.

    python bench/vm_copy.py [VM] [--runs N] [--size MIB] [--files N]

One large file and a directory of small ones go into the machine and come back; the programs take
turns, what comes back is compared, and medians are shown with their ratio to ``vm cp`` (over 1:
``vm cp`` is faster). All three keep modes and times, and use the shared connection to the machine
if there is one.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vm_parts import machine

Program = Callable[[str, str], list[str]]


def programs(vm: str, ssh: list[str]) -> dict[str, Program]:
    """How each program copies SRC to DST; the machine's side begins with ``:``."""
    *options, _, port, host = ssh[1:]

    def banger(source: str, target: str) -> list[str]:
        words = (f"{vm}{path}" if path[0] == ":" else path for path in (source, target))
        return [sys.executable, "-m", "banger_core", "vm", "cp", *words]

    def scp(source: str, target: str) -> list[str]:
        words = (f"{host}{path}" if path[0] == ":" else path for path in (source, target))
        return ["scp", "-q", "-r", "-p", *options, "-P", port, *words]

    def sftp(source: str, target: str) -> list[str]:
        verb = "get" if source[0] == ":" else "put"
        command = f"{verb} -rp {source.lstrip(':')} {target.lstrip(':')}"
        piped = 'command=$1; shift; echo "$command" | "$@"'
        words = ["sftp", "-q", "-b", "-", *options, "-P", port, host]
        return ["sh", "-c", piped, "sh", command, *words]

    return {"vm cp": banger, "scp": scp, "sftp": sftp}


def seconds(argv: list[str]) -> float:
    """Run a program; return how long it took."""
    begun = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def check(source: Path, back: Path) -> None:
    """Stop unless what came back is what went in."""
    names = [path.name for path in source.iterdir()] if source.is_dir() else ["."]
    for name in names:
        if not filecmp.cmp(source / name, back / name, shallow=False):
            raise SystemExit(f"{name} is not what it was")


def measure(vm: str, ssh: list[str], source: Path, work: Path, runs: int) -> None:
    """Copy ``source`` in and out with every program, and print the medians."""
    there, back = f"/root/bench-{source.name}", work / "back"
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(runs):
        for name, program in programs(vm, ssh).items():
            way_in = seconds(program(str(source), f":{there}"))
            way_out = seconds(program(f":{there}", str(back)))
            taken.setdefault(("in", name), []).append(way_in)
            taken.setdefault(("out", name), []).append(way_out)
            check(source, back)
            if back.is_dir():
                shutil.rmtree(back)
            back.unlink(missing_ok=True)
            subprocess.run([*ssh, f"rm -rf {there}"], check=True)
    for (way, name), times in sorted(taken.items(), key=lambda row: row[0][0]):
        middle = statistics.median(times)
        ratio = middle / statistics.median(taken[way, "vm cp"])
        print(f"{source.name:12} {way:4} {name:6} {middle:8.2f} s {ratio:7.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vm", nargs="?")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, default=64, metavar="MIB")
    parser.add_argument("--files", type=int, default=2000)
    options = parser.parse_args()
    with (
        machine(options.vm) as (vm, ssh),
        tempfile.TemporaryDirectory(prefix="banger-bench-") as place,
    ):
        work = Path(place)
        large, small = work / "large", work / "small"
        large.write_bytes(os.urandom(options.size << 20))
        small.mkdir()
        for number in range(options.files):
            (small / f"{number}").write_bytes(os.urandom(1000 + number % 5000))
        for source in (large, small):
            measure(vm, ssh, source, work, options.runs)


if __name__ == "__main__":
    main()
