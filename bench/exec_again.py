"""A command on a machine that runs: ``banger vm exec`` beside plain ssh with a control socket.

    python bench/exec_again.py [VM] [--runs N]

VM runs already; without one, a machine is made for it. The peer is OpenSSH with a master connection
of its own (``ControlMaster=yes`` on a socket that this program opens) and the same arguments
otherwise: the least that any client of this kind can cost. A third row is ssh without a shared
connection. Medians of wall time of ``true``; the sides take turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from vm_parts import BANGER, machine

BUDGET = 30
"""Milliseconds that banger may take longer than ssh on a shared connection."""


def milliseconds(argv: Sequence[str]) -> float:
    """Run a command that must succeed; return how long it took."""
    begun = time.monotonic()
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return (time.monotonic() - begun) * 1000


def has_master(argv: Sequence[str]) -> bool:
    """Say whether the connection that ``argv`` would share is there."""
    return subprocess.run([*argv, "-O", "check"], capture_output=True, check=False).returncode == 0


def measure(vm: str, argv: list[str], runs: int) -> dict[str, float]:
    """Return the median of each side in milliseconds."""
    deadline = time.monotonic() + 60
    while not has_master(argv):
        if time.monotonic() > deadline:
            raise SystemExit(f"no connection to {vm} is shared: banger ssh explain {vm}")
        time.sleep(0.5)
    with tempfile.TemporaryDirectory(prefix="eb-") as place:
        own = ["-o", f"ControlPath={Path(place) / 'mux'}"]
        sides = {
            "banger vm exec": [BANGER, "vm", "exec", vm, "--", "true"],
            "ssh, shared": [argv[0], *own, *argv[1:], "true"],
            "ssh": [argv[0], "-o", "ControlPath=none", *argv[1:], "true"],
        }
        taken: dict[str, list[float]] = {name: [] for name in sides}
        master = subprocess.Popen([argv[0], "-N", "-o", "ControlMaster=yes", *own, *argv[1:]])
        try:
            while not has_master([argv[0], *own, *argv[1:]]):
                time.sleep(0.1)
            for _ in range(runs):
                for name, command in sides.items():
                    taken[name].append(milliseconds(command))
        finally:
            master.terminate()
            master.wait()
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vm", nargs="?")
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    with machine(options.vm) as (vm, argv):
        medians = measure(vm, argv, options.runs)
    floor = medians["ssh, shared"]
    for name, median in medians.items():
        print(f"{name:16}{median:8.1f} ms   ratio {median / floor:5.2f}")
    more = medians["banger vm exec"] - floor
    print(f"banger takes {more:.1f} ms more than ssh on a shared connection (budget {BUDGET})")


if __name__ == "__main__":
    main()
