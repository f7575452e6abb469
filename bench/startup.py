"""What starting the command line costs, beside ``python -c pass``, as ratios of CPU time.

    python bench/startup.py [--runs N]

The commands take turns, so that a busy machine is busy for all of them; the least CPU time (user
and system) of each counts. ``vm list`` asks a daemon that stands in for the real one, so that the
figure is the command line's alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from banger_core.config.paths import Paths
from banger_core.testing.fake_daemon import FakeDaemon
from banger_core.testing.notes import write_note

COMMANDS = (
    ("--version",),
    ("ssh", "web"),
    ("vm", "exec", "web", "--", "true"),
    ("--help",),
    ("vm", "list"),
    ("vm", "--help"),
    ("vm", "run", "--help"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as place:
        prepare(Path(place))
        with FakeDaemon(Paths.from_environment().socket) as daemon:
            daemon.answers["GET /v1/vms"] = lambda _: {"vms": []}
            show(measure(runs))


def prepare(place: Path) -> None:
    """Directories of its own, an ``ssh`` that does nothing, and bytecode that is kept."""
    for name in ("state", "cache", "config", "runtime"):
        os.environ[f"BANGER_{name.upper()}_DIR"] = str(place / name)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(place / "bytecode")
    os.environ["PATH"] = f"{place / 'bin'}:{os.environ['PATH']}"
    (place / "bin").mkdir()
    (place / "bin" / "ssh").symlink_to("/bin/true")
    write_note(Paths.from_environment().note("web"))


def measure(runs: int) -> dict[str, float]:
    """The least CPU milliseconds of each command; the first run of each only warms up."""
    banger = [sys.executable, "-m", "banger_core"]
    lines = {"python -c pass": [sys.executable, "-c", "pass"]}
    lines |= {f"banger {' '.join(words)}": [*banger, *words] for words in COMMANDS}
    best = dict.fromkeys(lines, float("inf"))
    for number in range(runs + 1):
        for name, line in lines.items():
            spent = cpu_ms(line)
            if number:
                best[name] = min(best[name], spent)
    return best


def cpu_ms(line: list[str]) -> float:
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(line)} ended with {process.returncode}")
    return (usage.ru_utime + usage.ru_stime) * 1000


def show(best: dict[str, float]) -> None:
    bare = best["python -c pass"]
    print(f"{'command':<36}{'CPU ms':>8}{'ratio':>8}")
    for name, spent in best.items():
        print(f"{name:<36}{spent:>8.1f}{spent / bare:>8.2f}")


if __name__ == "__main__":
    main()
