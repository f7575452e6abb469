"""The daemon is killed by strace(1) at every Nth system call of a thread, while a machine is made
and while it is deleted: the next daemon finds a whole machine or nothing of it.

``BANGER_KILL_EVERY=1`` goes through all system calls; without it a sample is taken.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from banger_core.errors import BangerError

EVERY = int(os.environ.get("BANGER_KILL_EVERY", "0"))
SAMPLE = 8
"""So many places are tried of each operation when nothing else is asked for."""

SEEN = re.compile(r"^(\d+) +(\w+)\(")

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@contextmanager
def traced(pid, *options):
    """Have strace follow the threads that a process has, and not what it starts, as long as the
    block lasts.
    """
    argv = ["strace", *options]
    for task in Path(f"/proc/{pid}/task").iterdir():
        argv += ["-p", task.name]
    attached = argv.count("-p")
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as strace:
        try:
            for line in strace.stderr:
                attached -= "attached" in line
                if not attached:
                    break
            assert not attached, "strace does not attach"
            yield
        finally:
            strace.send_signal(signal.SIGINT)
            try:
                strace.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                strace.kill()


def calls_of(house, daemon, operation):
    """The system calls of the daemon, in their order, each with its how manieth of its kind in its
    thread it is: that is how strace counts.
    """
    log = house.home / "calls"
    with traced(daemon.pid, "-o", str(log)):
        operation()
    counted = Counter()
    calls = []
    for line in log.read_text("utf-8", "replace").splitlines():
        if found := SEEN.match(line):
            counted[found.groups()] += 1
            calls.append((found[2], counted[found.groups()]))
    log.unlink()
    return list(dict.fromkeys(calls))


def places(calls):
    step = EVERY or max(1, len(calls) // SAMPLE)
    return calls[0 if EVERY else step // 2 :: step]


def die_at(house, daemon, place, operation):
    """Do it, and say whether the daemon died of it."""
    name, count = place
    inject = f"inject={name}:signal=KILL:when={count}"
    options = ("-o", os.devnull, "-e", f"trace={name}", "-e", inject)
    with traced(daemon.pid, *options), suppress(BangerError):
        operation()
    house.until(lambda: house.answers(daemon))
    return daemon.poll() is not None


def warm(house):
    """A daemon that has all the threads that it needs."""
    daemon = house.daemon()
    house.create("other")
    house.delete("other")
    return daemon


def settled(house, before):
    """The next daemon is there, and the machine is whole or gone; then it is gone."""
    daemon = warm(house)
    house.until(lambda: house.states() in ({}, {"one": "running"}))
    house.until(lambda: not house.leftovers(), lambda: str(house.leftovers()))
    if house.states():
        assert house.greeting("one").startswith(b"SSH-2.0-")
        house.delete("one")
    house.settled(before)
    assert "Traceback" not in house.log()
    return daemon


@pytest.mark.timeout(0 if EVERY else 400)
@pytest.mark.parametrize("what", ["create", "delete"])
def test_killed_at_every_nth_system_call(house, what):
    warm(house)
    house.ok("daemon", "stop")
    daemon = warm(house)
    before = house.ledger().without("fd")
    operation = {"create": house.create, "delete": house.delete}[what]
    if what == "delete":
        house.create("one")
    calls = calls_of(house, daemon, lambda: operation("one"))
    assert len(calls) > 100
    tried, died = places(calls), 0
    for place in tried:
        there = bool(house.states())
        if what == "delete" and not there:
            house.create("one")
        elif what == "create" and there:
            house.delete("one")
        if die_at(house, daemon, place, lambda: operation("one")):
            died += 1
        else:
            house.ok("daemon", "stop")
        daemon = settled(house, before)
    sys.stdout.write(f"{what}: {len(calls)} calls, killed at {died} of {len(tried)}\n")
    # Which thread makes a call differs, so some places are not come to
    assert died > len(tried) // 4
