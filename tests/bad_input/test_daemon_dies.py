"""A daemon that is killed while a command waits for it."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest


@pytest.mark.parametrize(
    "words", [("vm", "create", "--name", "a"), ("image", "pull")], ids=" ".join
)
def test_killed_in_the_middle(house, words):
    pid = house.ok("daemon", "start") or house.json("daemon", "status")["pid"]
    command = subprocess.Popen(
        [*house.python, *words, "fake://endless"],
        env=house.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stderr is not None
    said = ""
    while "fetching" not in said:
        line = command.stderr.readline()
        assert line, said
        said += line
    os.kill(pid, signal.SIGKILL)
    out, rest = command.communicate(timeout=60)
    assert (command.returncode, out) == (1, "")
    lines = [line for line in rest.splitlines() if line.startswith(("error:", "cause:", "try:"))]
    assert "went away" in lines[0]
    assert lines[1].startswith("cause: ")
    assert "try:   banger daemon logs" in lines
    assert "Traceback" not in rest
    # The next daemon finds what was begun, and removes it
    assert house.json("vm", "list") == []
    assert house.json("image", "list") == []
    assert house.traces() == set()
    house.ok(*words, "fake://small")
    house.close()
