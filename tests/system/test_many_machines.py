"""Many real machines, one after another and all at once: nothing gathers, and every name has one
that answers. ``tests/crash/test_cycles.py`` goes through hundreds with a light VMM.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drivers import DRIVER
from warm_starts import save_one

from banger_core.testing.ledger import idle

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("warm-start"),
    pytest.mark.skipif(bool(os.environ.get(DRIVER)), reason="only qemu begins machines warm"),
]

CYCLES = int(os.environ.get("BANGER_SOAK_VMS", "20"))
CROWD = 32
FLAT = 8 << 20
"""Bytes that the daemon's memory may be larger afterwards: its history of events fills up."""

MACHINE = ("--vcpu", "1", "--memory", "160M")


def resident(pid):
    """The memory that a process has, in bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) << 10


def own_memory(pid):
    """The same, but what several processes share is counted once (proc_pid_smaps(5))."""
    found = re.search(r"Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
    return int(found[1]) << 10


@pytest.fixture(scope="module")
def warm(banger):
    """A banger whose machines begin warm."""
    save_one(banger, "first", *MACHINE)
    banger.ok("vm", "delete", "--force", "first")
    yield banger
    banger.ok("vm", "prune", "--warm")


def settled(banger, before):
    """Wait until there is nothing but what was there ``before``."""
    deadline = time.monotonic() + 200
    while left := banger.ledger().since(before):
        assert time.monotonic() < deadline, "\n".join(left)
        time.sleep(0.2)


@pytest.fixture
def before(warm):
    """What is there when no machine is, and all that comes with the first one has come."""
    warm.ok("vm", "run", "-d", "--name", "round", *MACHINE)
    warm.ok("vm", "delete", "--force", "round")
    # The responder for names comes a moment after the daemon, and stays
    deadline = time.monotonic() + 120
    while not any("banger_dns.responder" in each for each in warm.ledger().of("process")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    warm.ok("vm", "run", "-d", "--name", "round", *MACHINE)
    warm.ok("vm", "delete", "--force", "round")
    while not idle(warm.paths):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    found = warm.ledger()
    assert found.of("fd")
    return found


def test_cycles_leave_the_host_as_it_was(warm, before):
    memory = resident(warm.daemon_pid())
    for _ in range(CYCLES):
        warm.ok("vm", "run", "-d", "--name", "round", *MACHINE)
        warm.ok("vm", "delete", "--force", "round")
    settled(warm, before)
    grown = resident(warm.daemon_pid()) - memory
    sys.stdout.write(f"{CYCLES} machines: {memory >> 10} KiB, then {grown >> 10} KiB more\n")
    assert grown < FLAT


def all_at_once(banger, *commands):
    """Start commands together; returns how each ended: status, stdout, stderr."""
    running = [
        banger.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                     stderr=subprocess.PIPE)
        for words in commands
    ]  # fmt: skip
    said = [each.communicate() for each in running]
    return [
        (each.returncode, out.decode(), err.decode())
        for each, (out, err) in zip(running, said, strict=True)
    ]


def test_a_crowd_wants_one_name_and_one_of_it_gets_it(warm, before):
    command = ("vm", "run", "-d", "-q", "--name", "round", *MACHINE)
    ended = all_at_once(warm, *[command] * 8)
    assert sorted(status for status, _, _ in ended) == [0] + [1] * 7, ended
    assert all("round" in err for status, _, err in ended if status)
    assert warm.ok("vm", "exec", "round", "--", "hostname") == "round\n"
    warm.ok("vm", "delete", "--force", "round")
    settled(warm, before)


def test_a_crowd_gets_a_machine_that_answers_for_every_name(warm, before):
    names = [f"vm{number}" for number in range(CROWD)]
    begun = time.monotonic()
    ended = all_at_once(
        warm, *[("vm", "run", "-d", "-q", "--name", name, *MACHINE) for name in names]
    )
    assert [status for status, _, _ in ended] == [0] * CROWD, ended
    made = time.monotonic() - begun
    answers = all_at_once(warm, *[("vm", "exec", name, "--", "hostname") for name in names])
    assert [(status, out.strip()) for status, out, _ in answers] == [(0, name) for name in names]
    shown = warm.json("vm", "list")
    for field in ("id", "address", "pid"):
        assert len({vm[field] for vm in shown}) == CROWD, field
    memory = sum(own_memory(vm["pid"]) for vm in shown)
    sys.stdout.write(f"{CROWD} machines after {made:.1f} s, in {memory >> 20} MiB of memory\n")
    warm.ok("vm", "delete", "--force", *names)
    settled(warm, before)
    sys.stdout.write(f"all gone after {time.monotonic() - begun:.1f} s\n")
