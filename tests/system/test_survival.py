"""The daemon dies; the machines and the connections to them do not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from banger_core.testing.ledger import idle

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("survival")]


CYCLES = int(os.environ.get("BANGER_SOAK_VMS", "2"))
FLAT = 8 << 20
"""Bytes that the daemon's memory may be larger afterwards: its history of events fills up."""


def resident(pid):
    """The memory that a process has, in bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) << 10


def test_an_open_connection_survives_the_daemon_and_the_vm_is_adopted(banger):
    banger.ok("vm", "run", "-d", "--name", "tough")
    with banger.popen("ssh", "tough", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as ssh:
        ssh.stdin.write(b"before\n")
        ssh.stdin.flush()
        assert ssh.stdout.readline() == b"before\n"
        old = banger.daemon_pid()
        os.kill(old, signal.SIGKILL)

        assert [(vm["name"], vm["state"]) for vm in banger.json("vm", "list")] == [
            ("tough", "running")
        ]
        assert banger.daemon_pid() != old
        ssh.stdin.write(b"after\n")
        ssh.stdin.close()
        assert ssh.stdout.read() == b"after\n"
    assert ssh.returncode == 0
    assert banger.ok("vm", "exec", "tough", "--", "echo", "still here") == "still here\n"
    banger.ok("vm", "stop", "tough")
    assert banger.json("vm", "show", "tough")["state"] == "stopped"
    banger.ok("vm", "delete", "tough")


def test_a_vm_that_ends_by_itself_is_seen_to_have_ended(banger):
    banger.ok("vm", "run", "-d", "--name", "leaver")
    banger.run("vm", "exec", "leaver", "--", "sh", "-c", "echo o > /proc/sysrq-trigger; sleep 60")
    deadline = time.monotonic() + 200
    while banger.json("vm", "show", "leaver")["state"] != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.3)
    banger.ok("vm", "delete", "leaver")


def test_a_vm_that_ends_while_no_daemon_watches_is_stopped_afterwards(banger):
    banger.ok("vm", "run", "-d", "--name", "unseen")
    vm = banger.json("vm", "show", "unseen")
    os.kill(banger.daemon_pid(), signal.SIGKILL)
    os.kill(vm["pid"], signal.SIGKILL)
    after = banger.json("vm", "show", "unseen")
    assert after["state"] == "stopped"
    assert "no daemon" in after["problem"]
    assert not (banger.runtime / "vms" / vm["id"]).exists()
    banger.ok("vm", "delete", "unseen")


@pytest.mark.parametrize("point", ["start.after_launch", "start.after_publish"])
def test_a_crash_in_the_middle_of_a_run_leaves_nothing(banger, point):
    """The table-driven test goes through all failpoints with a light VMM; here with a real one."""
    banger.ok("daemon", "stop")
    done = banger.run("vm", "run", "-d", "--name", "crash",
                      env={"BANGER_FAILPOINT": f"{point}:kill"})  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert b"error:" in done.stderr
    assert banger.vm_names() == []
    banger.ok("daemon", "stop")
    assert banger.left_in_the_end() == []


def test_cycles_leave_the_host_as_it_was(banger):
    """As with the light VMM, which goes through hundreds; ``scripts/soak`` asks for more here."""

    def cycle():
        banger.ok("vm", "run", "-d", "--name", "round")
        banger.ok("vm", "delete", "--force", "round")

    cycle()
    # The responder for names comes a moment after the daemon, and stays
    deadline = time.monotonic() + 120
    while not any("banger_dns.responder" in each for each in banger.ledger().of("process")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    cycle()
    while not idle(banger.paths):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    before = banger.ledger()
    assert before.of("fd")
    memory = resident(banger.daemon_pid())
    for _ in range(CYCLES):
        cycle()
    deadline = time.monotonic() + 200
    while left := banger.ledger().since(before):
        assert time.monotonic() < deadline, "\n".join(left)
        time.sleep(0.2)
    grown = resident(banger.daemon_pid()) - memory
    sys.stdout.write(f"{CYCLES} machines: {memory >> 10} KiB, then {grown >> 10} KiB more\n")
    assert grown < FLAT


def test_a_vmm_that_is_killed_is_noticed(banger):
    banger.ok("vm", "run", "-d", "--name", "victim")
    vm = banger.json("vm", "show", "victim")
    os.kill(vm["pid"], signal.SIGKILL)
    killed = time.monotonic()
    deadline = time.monotonic() + 200
    while (seen := banger.json("vm", "show", "victim"))["state"] != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    sys.stdout.write(f"a killed VMM is stopped {time.monotonic() - killed:.2f} s later\n")
    assert "killed" in seen["problem"]
    assert not (banger.runtime / "vms" / vm["id"]).exists()
    banger.ok("vm", "delete", "victim")
