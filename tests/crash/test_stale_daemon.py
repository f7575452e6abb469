"""What an earlier daemon left, or somebody else put in its place: mended, or explained at once."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest

from banger_core.model import VmState
from banger_core.store.database import Database
from banger_core.store.records import Records

RUN = ("vm", "run", "-d", "--name", "one")


@pytest.fixture
def stranger():
    """A process that has nothing to do with banger."""
    with subprocess.Popen(["sleep", "328"]) as process:
        yield process
        process.kill()


@contextmanager
def locked(house):
    """The daemon's lock, in the hands of a program that is no daemon."""
    house.state.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(house.paths.daemon_lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def test_a_killed_daemon_leaves_socket_lock_and_address_and_the_next_takes_them(house):
    first = house.daemon()
    house.ok(*RUN)
    first.kill()
    first.wait()
    assert (house.runtime / "bangerd.sock").is_socket()
    assert house.paths.daemon_address.exists()
    assert [vm["state"] for vm in house.vms()] == ["running"]
    (pid,) = house.daemon_pids()
    assert pid != first.pid


def test_the_lock_of_another_program_is_explained(house):
    with locked(house):
        done = house.run("vm", "list")
        assert done.returncode == 1
        assert f"error: {house.paths.daemon_lock} is locked by another program" in done.stderr
        assert f"cause: process {os.getpid()} (" in done.stderr
        assert f"end process {os.getpid()}" in done.stderr
    assert house.vms() == []


def test_a_pid_in_the_lock_that_is_somebody_else_by_now(house, stranger):
    """The file names who held it last; only the kernel says whether somebody does."""
    house.state.mkdir(mode=0o700)
    house.paths.daemon_lock.write_text(f"{stranger.pid}\n")
    house.paths.daemon_lock.chmod(0o600)
    assert house.vms() == []
    house.ok("daemon", "stop")
    assert stranger.poll() is None


def test_a_daemon_that_hangs_is_named_and_waited_for(house):
    daemon = house.daemon()
    daemon.send_signal(signal.SIGSTOP)
    try:
        with house.popen("vm", "list") as command:
            said = command.stderr.readline()
            assert said.startswith("waiting for the daemon, process "), said
            assert f"process {daemon.pid} (" in said
            daemon.send_signal(signal.SIGCONT)
            _, err = command.communicate(timeout=60)
            assert command.returncode == 0, err
    finally:
        daemon.send_signal(signal.SIGCONT)
    assert house.daemon_pids() == {daemon.pid}


def test_a_daemon_that_holds_the_lock_and_serves_nothing_is_named(house):
    """Its socket was removed, and it hangs: it cannot see that it is lost."""
    daemon = house.daemon()
    daemon.send_signal(signal.SIGSTOP)
    try:
        (house.runtime / "bangerd.sock").unlink()
        with house.popen("vm", "list") as command:
            said = command.stderr.readline()
            assert said.startswith(f"waiting: process {daemon.pid} ("), said
            daemon.send_signal(signal.SIGCONT)
            # It sees that it is lost, and leaves; the command starts another one
            _, err = command.communicate(timeout=60)
            assert command.returncode == 0, err
    finally:
        daemon.send_signal(signal.SIGCONT)
    assert daemon.wait(timeout=60) == 0
    (other,) = house.daemon_pids()
    assert other != daemon.pid


def test_a_live_socket_of_another_program_is_never_removed(house):
    house.runtime.mkdir(mode=0o700)
    place = house.runtime / "bangerd.sock"
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(place))
        # A full queue refuses nobody and answers nobody
        theirs.listen(0)
        inode = place.stat().st_ino
        waiting = []
        while True:
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            try:
                waiting[-1].connect(str(place))
            except BlockingIOError:
                break
        done = subprocess.run(
            [sys.executable, "-m", "banger_core.daemon"],
            env=house.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for each in waiting:
            each.close()
        assert done.returncode == 1
        said = json.loads(done.stderr.splitlines()[-1])
        assert said["error"] == f"something else listens on {place}"
        assert place.stat().st_ino == inode


@pytest.fixture
def of_version(house):
    """A function: a daemon that is of another version, or says so."""
    started = []

    def start(version):
        house.paths.ready()
        code = (
            f"import banger_core; banger_core.__version__ = {version!r}; "
            "from banger_core.daemon.__main__ import main; main()"
        )
        with (house.state / "daemon.log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", code], env=house.env, stdout=log, stderr=log
                )
            )
        house.until(lambda: house.run("daemon", "status").returncode == 0)
        return started[-1]

    yield start
    for daemon in started:
        daemon.kill()
        daemon.wait()


def test_an_older_daemon_makes_room_and_its_vms_go_on(house, of_version):
    house.ok(*RUN)
    (before,) = house.vms()
    house.ok("daemon", "stop")
    older = of_version("0.0.1")
    done = house.run("vm", "list", "--json")
    assert done.returncode == 0, done.stderr
    assert "the daemon (0.0.1) is older than this banger" in done.stderr
    assert older.wait(timeout=60) == 0
    (after,) = json.loads(done.stdout)
    assert (after["state"], after["pid"]) == ("running", before["pid"])


def test_a_newer_daemon_is_left_alone(house, of_version):
    newer = of_version("999.0")
    done = house.run("vm", "list")
    assert done.returncode == 1
    assert "is older than the running daemon (999.0)" in done.stderr
    assert newer.poll() is None
    assert json.loads(house.ok("daemon", "status", "--json"))["pid"] == newer.pid
    house.ok("daemon", "stop")
    assert newer.wait(timeout=60) == 0


@pytest.mark.parametrize("state", ["running", "starting", "stopping", "paused", "deleting"])
def test_the_pid_of_a_vm_that_is_somebody_else_by_now_is_left_alone(house, stranger, state):
    house.daemon()
    house.ok(*RUN)
    (vm,) = house.vms()
    house.daemons[0].kill()
    house.daemons[0].wait()
    os.kill(vm["pid"], signal.SIGKILL)
    # As after a while, when the kernel gives the number away anew
    record = house.runtime / "vms" / vm["id"] / "process"
    text = record.read_text().replace(f"\n{vm['pid']} (", f"\n{stranger.pid} (")
    record.write_text(text)
    with Database.open(house.paths.database) as database:
        records = Records(database)
        kept = records.vm("one")
        somebody_else = replace(kept.process, pid=stranger.pid)
        records.update_vm(replace(kept, state=VmState(state), process=somebody_else))
    house.daemon()
    expected = {} if state == "deleting" else {"one": "stopped"}
    assert {vm["name"]: vm["state"] for vm in house.vms()} == expected
    assert stranger.poll() is None
    assert house.leftovers() == []
