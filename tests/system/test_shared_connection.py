"""The connection that commands share, with a real machine: used, replaced, gone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("shared")]


def master(banger):
    """The process that holds the connection open, 0 when there is none."""
    argv = banger.json("vm", "list") and note(banger)["argv"]
    said = subprocess.run(
        ["ssh", "-O", "check", *argv[1:]], capture_output=True, text=True, check=False
    ).stderr
    return int(said.partition("pid=")[2].partition(")")[0] or 0)


def note(banger):
    import json

    return json.loads((banger.state / "ssh" / "vms" / "web.json").read_text())


def eventually(ask):
    deadline = time.monotonic() + 200
    while not (found := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def test_commands_share_a_connection_for_as_long_as_the_machine_runs(banger):
    banger.ok("vm", "run", "-d", "--name", "web")
    first = eventually(lambda: master(banger))

    # Statuses, streams, signals and connections that break are the same over it
    def run(*words, **more):
        return banger.run("vm", "exec", "web", "--", *words, **more)

    assert run("sh", "-c", "exit 7").returncode == 7
    assert run("sh", "-c", "exit 255").returncode == 255
    assert run("sh", "-c", "kill -TERM $$").returncode == 143
    data = bytes(range(256)) * 20_000
    assert run("cat", stdin=data).stdout == data
    # One connection for all of them: the guest's end of it has one port
    ports = {run("sh", "-c", "echo $SSH_CONNECTION").stdout.split()[1] for _ in range(3)}
    assert len(ports) == 1
    assert master(banger) == first

    # Ctrl-C reaches the program
    script = "trap 'exit 9' INT; echo up; sleep 600 & wait"
    with banger.popen("vm", "exec", "web", "--", "sh", "-c", script, stdout=subprocess.PIPE) as it:
        assert it.stdout.readline() == b"up\n"
        it.send_signal(signal.SIGINT)
        assert it.wait(200) == 9

    # A daemon that dies leaves it alone, and the next one looks after it
    os.kill(banger.daemon_pid(), signal.SIGKILL)
    assert [vm["state"] for vm in banger.json("vm", "list")] == ["running"]
    assert master(banger) == first

    # It is lost while a command runs: that is no exit status of the program
    with banger.popen(
        "vm", "exec", "web", "--", "sh", "-c", "echo up; sleep 600",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as it:  # fmt: skip
        assert it.stdout.readline() == b"up\n"
        os.kill(first, signal.SIGKILL)
        assert it.wait(200) == 255
        assert b"connection" in it.stderr.read()
    assert run("true").returncode == 0
    second = eventually(lambda: master(banger))
    assert second != first

    banger.ok("vm", "stop", "web")
    assert not Path(f"/proc/{second}").exists()
    banger.ok("vm", "delete", "web")
