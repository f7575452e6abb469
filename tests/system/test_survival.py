"""The daemon dies; the machines and the connections to them do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("survival")]


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
