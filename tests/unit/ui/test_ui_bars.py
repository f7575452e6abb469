"""Bars of downloads: what is told at which width, and how they leave a real terminal."""

from __future__ import annotations

import io
import os
import re
import sys

import pexpect
import pytest
from rich.console import Console, Group

from banger_core.ui.bars import Bars

DOWNLOADS = {
    "layer 4b5c6d7e8f90 (1/4)": (10 << 20, 40 << 20),
    "layer 0a1b2c3d4e5f (2/4)": (512 << 10, 2 << 20),
    "layer ffeeddccbbaa (3/4)": (3000, 12000),
}

PROGRAM = """\
import sys
from banger_core.testing.fake_daemon import event
from banger_core.ui.progress import progress

with progress() as show:
    show(event("step", what="fetching oci://app"))
    for done in (0, 5, 10):
        for layer in ("one", "two"):
            show(event("progress", what=f"layer {layer}", done=done << 20, total=20 << 20))
    show(event("notice", text="asked again after 503"))
    sys.stdin.readline()
    show(event("progress", what="layer one", done=20 << 20, total=20 << 20))
    show(event("progress", what="unpacking", done=1, total=0))
    sys.stdin.readline()
    show(event("progress", what="layer two", done=20 << 20, total=20 << 20))
    show(event("step", what="writing"))
    show(event("progress", what="writing", done=5 << 20, total=0))
    sys.stdin.readline()
print("done")
"""


def painted(width, tasks, *, height=24, seconds=2, step="fetching oci://docker.io/library/app:1"):
    """The lines that are shown ``seconds`` after all of ``tasks`` were at half of what they are."""
    now = [100.0]
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    bars = Bars(console=console, get_time=lambda: now[0])
    bars.update(bars.add_task(step, total=None), completed=0)
    numbers = {what: bars.add_task(what, total=total) for what, (_, total) in tasks.items()}
    for part in (0.25, 0.5, 1):
        for what, (done, _) in tasks.items():
            bars.update(numbers[what], completed=int(done * part))
        now[0] += seconds / 2 if part < 1 else 0
    console.print(Group(*bars.get_renderables()))
    return console.file.getvalue().splitlines()


def test_wide_terminal_shows_bar_amount_rate_and_time_left():
    step, first, second, third = painted(100, DOWNLOADS)
    assert step.split(" ", 1)[1] == "fetching oci://docker.io/library/app:1 0:02"
    assert re.fullmatch(r"  layer 4b5c6d7e8f90 \(1/4\) ━+╸? +10/40 MiB +3.8 MiB/s +0:08", first), (
        first
    )
    assert re.fullmatch(
        r"  layer 0a1b2c3d4e5f \(2/4\) ━+╸? +512 KiB/2 MiB +192 KiB/s +0:08", second
    ), second
    # Too little to be worth its bytes
    assert re.fullmatch(r"  layer ffeeddccbbaa \(3/4\) ━+╸? +25% +0:08", third), third


@pytest.mark.parametrize(
    ("width", "there", "missing"),
    [
        (80, ("━", "10/40 MiB", "3.8 MiB/s", "0:08"), ()),
        (60, ("10/40 MiB", "3.8 MiB/s", "0:08"), ("━",)),
        (45, ("10/40 MiB", "0:08"), ("━", "MiB/s")),
        (30, ("25%",), ("━", "MiB", "0:08")),
        (12, ("25%",), ("━", "MiB", "0:08")),
    ],
)
def test_narrow_terminal_shows_less_and_breaks_no_line(width, there, missing):
    lines = painted(width, DOWNLOADS)
    assert len(lines) == 4
    assert max(map(len, lines)) < width
    assert lines[1].startswith("  l")
    assert all(each in lines[1] for each in there)
    assert not any(each in lines[1] for each in missing)


def test_more_bars_than_lines_are_counted():
    many = {f"layer {number}": (1, 2) for number in range(40)}
    lines = painted(80, many, height=10)
    assert len(lines) == 9
    assert lines[-1] == "  … 33 more"


def test_stalled_download_promises_no_end():
    (_, line) = painted(80, {"layer": (0, 8 << 20)})
    assert re.fullmatch(r"  layer +0 B/8 MiB *", line)


def test_bars_come_and_go_on_a_real_terminal():
    child = pexpect.spawn(
        sys.executable,
        ["-c", PROGRAM],
        dimensions=(24, 80),
        encoding="utf-8",
        echo=False,
        timeout=30,
        env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"},
    )
    with child:
        child.expect_exact("asked again after 503")
        child.expect(r"fetching oci://app \d:\d\d\s+layer one ━+ +10/20 MiB.*layer two ━+ +10/20")
        child.sendline()
        # A whole later picture, in which the first is not any more
        child.expect(r"unpacking \d:\d\d\s+layer two ━+ +10/20 MiB")
        child.sendline()
        child.expect(r"writing 5 MiB \d:\d\d")
        child.sendline()
        child.expect_exact("done")
        rest = child.before
        child.expect(pexpect.EOF)
        # All lines are taken back before the result is written
        assert rest.rstrip().endswith("\x1b[2K")
        assert "layer" not in rest
    assert child.exitstatus == 0
