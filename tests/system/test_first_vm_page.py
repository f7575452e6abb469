"""The tutorial "Your first VM", typed into a shell on a terminal, as people do."""

from __future__ import annotations

from pathlib import Path

import pexpect
import pytest
from page_blocks import to_run

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PATIENCE = 480
"""Seconds for one command: everything runs under emulation."""
PROMPT = r"status=(\d+) here> "
GUEST = r"root@[\w-]+:\S*# "


@pytest.fixture
def shell(banger):
    """bash where ``make run`` left things."""
    env = {**banger.env, "TERM": "dumb"}
    words = ["--norc", "--noprofile"]
    child = pexpect.spawn(
        "bash", words, env=env, cwd=ROOT, timeout=PATIENCE, dimensions=(50, 250), encoding="utf-8"
    )
    child.sendline("PS1='status=$? here> '")
    child.expect(PROMPT)
    yield child
    child.close(force=True)


def typed(child, command):
    """Type a command, leave the machine where it leads into one, and return status and output."""
    child.sendline(command)
    said = ""
    while child.expect([PROMPT, GUEST]) == 1:
        said += f"{child.before}{child.after}\n"
        child.sendline("exit")
    return int(child.match[1]), said + child.before


def test_everything_that_the_page_says_works(shell, banger):
    for step in to_run("first-vm.md"):
        status, said = typed(shell, step.command)
        assert status == 0, f"{step.command}\n{said}"
        shown = [line.strip() for line in said.splitlines()]
        for line in step.shows:
            assert line in shown, f"{step.command}\n{said}"
    assert banger.vm_names() == []
