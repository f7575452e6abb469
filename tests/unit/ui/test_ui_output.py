"""Tables, words for times, and what is shown where."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from banger_core.testing.fake_daemon import event
from banger_core.ui import console, tables
from banger_core.ui.human import ago, plain
from banger_core.ui.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """Put terminals in the place of stdout and stderr; within the test, for pytest moves both."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def look():
        out, err = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return look


def test_a_piped_table_is_plain_and_whole(capsys):
    tables.show_table(("a", "b"), [("running", "x" * 300), ("", "y")])
    head, first, second = capsys.readouterr().out.splitlines()
    assert (head, second) == ("A        B", "-        y")
    assert first == "running  " + "x" * 300


def test_a_table_on_a_terminal_is_coloured_and_fits(on_terminal, monkeypatch):
    terminal = on_terminal()
    monkeypatch.setenv("COLUMNS", "30")
    tables.show_table(("name", "state", "image"), [("web", "running", "x" * 300)])
    head, row = terminal[0].getvalue().splitlines()
    assert head.startswith("\x1b[1mNAME\x1b[0m  ")
    assert row == "web   \x1b[32mrunning\x1b[0m  " + "x" * 14 + "…"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_refused(on_terminal, monkeypatch, name, value):
    terminal = on_terminal()
    monkeypatch.setenv(name, value)
    tables.show_details({"state": "running"})
    assert terminal[0].getvalue() == "state  running\n"


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (-5, "now"),
        (0.5, "now"),
        (1, "1 second ago"),
        (119, "1 minute ago"),
        (7300, "2 hours ago"),
        (86400 * 6.9, "6 days ago"),
        (86400 * 8, "1 week ago"),
        (86400 * 800, "2 years ago"),
    ],
)
def test_times_as_people_say_them(passed, said):
    assert ago(1e9 - passed, now=1e9) == said


def test_no_time_is_never():
    assert ago(None) == "never"


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), ([], "-"), (0, "0"), (False, "no"), ({"a": [1, True]}, "a=1, yes"), ("x", "x")],
)
def test_values_in_one_line(value, said):
    assert plain(value) == said


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\x9b31m", "\u202egnp.exe", "\x00", "\u2028"])
def test_control_characters_are_shown_not_done(text):
    assert console.printable(text).isprintable()
    assert console.printable("grüße …") == "grüße …"


EVENTS = (
    event("step", what="one"),
    event("step", what="one"),
    event("progress", what="fetch", done=0, total=5 << 20),
    event("progress", what="fetch", done=5 << 20, total=5 << 20),
    event("notice", text="mind\x1b[1m the gap"),
    event("vm.ready"),
)


def test_steps_are_lines_in_a_pipe(capsys):
    with progress() as show:
        for each in EVENTS:
            show(each)
    assert capsys.readouterr().err.splitlines() == [
        "one",
        "fetch (5 MiB)",
        "mind\\x1b[1m the gap",
    ]


def test_quiet_leaves_nothing(capsys):
    with progress(quiet=True) as show:
        for each in EVENTS:
            show(each)
    assert capsys.readouterr().err == ""


def test_progress_moves_on_a_terminal_and_leaves_no_trace(on_terminal):
    terminal = on_terminal()
    with progress() as show:
        for each in EVENTS:
            show(each)
    shown = terminal[1].getvalue()
    assert "mind\\x1b[1m the gap" in shown
    assert "fetch" in shown
    assert terminal[0].getvalue() == ""
    # The last thing said is: back to the line's beginning, and erase it
    assert shown.rstrip().endswith("\x1b[2K")


def test_an_operation_without_steps_starts_no_rich(on_terminal):
    terminal = on_terminal()
    with progress() as show:
        show(event("vm.ready"))
    assert terminal[1].getvalue() == ""


def test_talk_goes_on_when_nobody_reads_it():
    code = "from banger_core.ui.console import tell; tell('one'); tell('two'); print('done')"
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", code]
        ended = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=full)
    assert (ended.returncode, ended.stdout) == (0, b"done\n")
