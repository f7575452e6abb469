"""Interruptions, daemons that die or come by twos, VMs that nobody wants any more."""

from __future__ import annotations

import json
import os
import signal
import socket

import pytest

RUN = ("vm", "run", "-d", "--name", "one")


IMAGE = ("image", "pull", "fake://small")
CREATE = ("vm", "create", "--name", "one")
STOPPED = {"one": "stopped"}


def appeared(house, pattern):
    return lambda: list(house.home.glob(pattern))


@pytest.mark.parametrize(
    ("point", "before", "command", "reached", "states"),
    [
        ("pull.after_rootfs", (), IMAGE, "state/images/*/rootfs.ext4", {}),
        ("create.after_disk", (IMAGE,), RUN, "state/vms/*/root.raw", {}),
        ("start.after_launch", (IMAGE,), RUN, "run/vms/*/console.sock", {}),
        ("start.after_publish", (IMAGE,), RUN, "state/ssh/vms/one.json", {}),
        (
            "start.after_publish",
            (CREATE,),
            ("vm", "start", "one"),
            "state/ssh/vms/one.json",
            STOPPED,
        ),
        ("stop.after_shutdown", (RUN,), ("vm", "stop", "one"), "run/vms/*/end", STOPPED),
    ],
)
def test_interrupted(house, point, before, command, reached, states):
    daemon = house.daemon(f"{point}:hang")
    for words in before:
        house.ok(*words)
    with house.popen(*command) as running:
        house.until(appeared(house, reached))
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    # A stop that is interrupted just before its VMM is gone leaves the end to the watcher
    house.until(lambda: house.states() == states)
    house.until(lambda: not house.leftovers())
    assert house.daemon_pids() == {daemon.pid}


def test_an_interrupted_stop_still_watches_the_vm(house):
    house.ok(*RUN, "--label", "guest=stubborn")
    with house.popen("vm", "stop", "one") as stopping:
        house.until(lambda: house.states() == {"one": "stopping"})
        stopping.send_signal(signal.SIGINT)
        stopping.communicate(timeout=60)
    (vm,) = house.vms()
    assert vm["state"] == "running"
    os.kill(vm["pid"], signal.SIGTERM)
    house.until(lambda: house.states() == {"one": "stopped"})
    house.until(lambda: not house.leftovers())


def test_a_running_vm_is_adopted_by_the_next_daemon(house):
    first = house.daemon()
    house.ok(*RUN)
    (before,) = house.vms()
    first.kill()
    first.wait()
    (after,) = house.vms()
    assert (after["state"], after["pid"]) == ("running", before["pid"])
    assert house.leftovers() == []
    # Adopted means watched: its end is seen
    os.kill(after["pid"], signal.SIGTERM)
    house.until(lambda: house.states() == {"one": "stopped"})
    house.until(lambda: not house.leftovers())
    house.ok("vm", "start", "one")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_is_told_to_end_undoes_what_it_is_at(house, number):
    daemon = house.daemon("start.after_launch:hang")
    house.ok("image", "pull", "fake://small")
    with house.popen(*RUN) as running:
        house.until(appeared(house, "run/vms/*/console.sock"))
        daemon.send_signal(number)
        assert daemon.wait(timeout=60) == 0
        running.communicate(timeout=60)
    assert running.returncode != 0
    assert not (house.runtime / "bangerd.sock").exists()
    assert house.states() == {}
    assert house.leftovers() == []


def test_a_vm_that_crashes_is_stopped_and_says_so(house):
    house.ok(*RUN)
    (vm,) = house.vms()
    os.kill(vm["pid"], signal.SIGKILL)
    house.until(lambda: house.states() == {"one": "stopped"})
    assert "killed" in json.loads(house.ok("vm", "show", "one", "--json"))["problem"]
    assert house.leftovers() == []


@pytest.mark.parametrize("restarted", [False, True])
def test_an_ephemeral_vm_goes_when_its_command_is_gone(house, lasting_ssh, restarted):
    daemon = house.daemon()
    with house.popen("vm", "run", "--rm", "--name", "one", **lasting_ssh) as running:
        house.until(lambda: house.processes(b"sleep 600"))
        if restarted:
            daemon.kill()
            daemon.wait()
        running.kill()
        running.wait()
        # The session outlives its command, holding its stdout
        for pid in house.processes(b"sleep 600"):
            os.kill(pid, signal.SIGKILL)
    if restarted:
        house.daemon()
    house.until(lambda: house.states() == {})
    assert house.leftovers() == []


def test_commands_at_once_on_a_fresh_state_get_one_daemon(house):
    commands = [house.popen("daemon", "start") for _ in range(4)]
    for command in commands:
        _, err = command.communicate(timeout=60)
        assert command.returncode == 0, err
    house.until(lambda: len(house.daemon_pids()) == 1)
    (pid,) = house.daemon_pids()
    assert json.loads(house.ok("daemon", "status", "--json"))["pid"] == pid


def test_a_stale_socket_is_replaced(house):
    house.runtime.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(house.runtime / "bangerd.sock"))
    assert house.vms() == []
    assert len(house.daemon_pids()) == 1


def test_eight_at_once_and_deleted_in_one_go(house):
    commands = [house.popen("vm", "run", "-d") for _ in range(8)]
    names = []
    for command in commands:
        out, err = command.communicate(timeout=60)
        assert command.returncode == 0, err
        names.append(out.strip())
    vms = house.vms()
    assert {vm["name"] for vm in vms} == set(names)
    assert {vm["state"] for vm in vms} == {"running"}
    assert len({vm["address"] for vm in vms}) == len(set(names)) == 8
    assert len(house.rows("SELECT id FROM images")) == 1
    assert house.leftovers() == []

    # Bad ones among them do not keep the good ones
    house.ok("vm", "stop", "--force", names[0])
    done = house.run("vm", "delete", "nobody", names[0], names[1])
    assert done.returncode == 2, done.stderr
    assert done.stdout.split() == [names[0]]
    assert "no VM named 'nobody'" in done.stderr
    assert f"{names[1]} is running" in done.stderr
    house.ok("vm", "delete", "--force", *names[1:])
    assert house.states() == {}
    assert house.leftovers() == []


def test_what_an_operation_could_not_undo_is_finished_by_the_next_looks(house):
    daemon = house.daemon("delete.after_state:error")
    house.ok(*RUN)
    assert house.run("vm", "delete", "--force", "one").returncode == 1
    house.until(lambda: house.states() == {})
    house.until(lambda: not house.leftovers())
    assert house.daemon_pids() == {daemon.pid}
    assert "settling one, which was left deleting" in house.log()
