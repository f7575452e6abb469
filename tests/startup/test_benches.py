"""Benchmarks are no tests, but they run: what they measure changes without them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.parametrize("name", sorted(path.name for path in BENCH.glob("*.py")))
def test_a_benchmark_says_how_it_is_used(name):
    done = subprocess.run(
        [sys.executable, str(BENCH / name), "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {name}")


def test_the_cost_of_starting_is_measured():
    line = [sys.executable, str(BENCH / "startup.py"), "--runs", "1"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, *rows = done.stdout.splitlines()
    assert first.split() == ["command", "CPU", "ms", "ratio"]
    assert len(rows) == 8
    assert all(float(row.split()[-1]) > 0 for row in rows)
