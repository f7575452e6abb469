"""Starting and replacing the daemon. The daemon here is a small one, in a process of its own."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from banger_core import __version__
from banger_core.client import spawn
from banger_core.config.paths import Paths, secure_dir
from banger_core.errors import DaemonUnavailable
from banger_core.testing.fake_daemon import FakeDaemon

REAL = spawn.DAEMON
SMALL_DAEMON = """
import fcntl, os, sys, threading
from banger_core import __version__
from banger_core.config.paths import Paths
from banger_core.testing.fake_daemon import FakeDaemon

paths = Paths.from_environment()
lock = open(paths.daemon_lock, "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(0)
leave = threading.Event()
paths.socket.unlink(missing_ok=True)
fake = FakeDaemon(paths.socket, version=os.environ.get("SMALL_VERSION", __version__))
fake.answers["POST /v1/stop"] = lambda _: {}
# It answers before it goes
fake.sent = lambda asked: asked.path == "/v1/stop" and leave.set()
with open(paths.state / "born", "a") as file:
    file.write(f"{os.getpid()} {os.getsid(0)} {os.umask(0):o}\\n")
with fake:
    leave.wait(600)
"""


@pytest.fixture
def paths(tmp_path_factory, monkeypatch):
    place = tmp_path_factory.mktemp("s")
    for name in ("state", "cache", "config", "runtime"):
        monkeypatch.setenv(f"BANGER_{name.upper()}_DIR", str(place / name))
    program = place / "small.py"
    program.write_text(SMALL_DAEMON)
    monkeypatch.setattr(spawn, "DAEMON", (sys.executable, str(program)))
    paths = Paths.from_environment()
    yield paths
    if found := spawn.running(paths, print):
        found[0].call("POST", "/v1/stop")
    deadline = time.monotonic() + 60
    while not spawn._is_free(paths.daemon_lock):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_daemon_holds_nothing_of_its_starters_caller(paths, tmp_path):
    lock = (tmp_path / "callers.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(lock.fileno(), True)
    spawn.start(paths, print)
    (line,) = born(paths)
    held = []
    for each in Path(f"/proc/{line.split()[0]}/fd").iterdir():
        # It may still be closing what it was asked by
        with suppress(FileNotFoundError):
            held.append(each.readlink())
    lock.close()
    assert held
    assert tmp_path / "callers.lock" not in held
    with (tmp_path / "callers.lock").open("w") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)


def born(paths):
    return (paths.state / "born").read_text().splitlines()


def test_a_daemon_is_started_apart_and_private(paths):
    told = []
    assert spawn.connect(paths, told.append).status()["version"] == __version__
    pid, session, umask = born(paths)[0].split()
    assert (session, umask) == (pid, "77")
    assert told == []
    assert paths.daemon_log.stat().st_mode & 0o777 == 0o600
    spawn.connect(paths, told.append)
    assert len(born(paths)) == 1


def test_a_daemon_runs_nothing_of_the_current_directory(paths, tmp_path):
    (tmp_path / "json.py").write_text("from pathlib import Path; Path('ran').touch()")
    for directory in (paths.state, paths.runtime):
        secure_dir(directory)
    with paths.daemon_lock.open("w") as lock:
        # With it, the real one leaves at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(REAL, cwd=tmp_path, check=True, timeout=120)
    assert not (tmp_path / "ran").exists()


def test_many_at_once_end_up_at_one_daemon(paths):
    code = (
        "from banger_core.client import spawn; from banger_core.config.paths import Paths\n"
        f"spawn.DAEMON = {spawn.DAEMON!r}\n"
        "print(spawn.connect(Paths.from_environment(), print).status()['pid'])"
    )
    crowd = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    answers = {each.communicate(timeout=60)[0] for each in crowd}
    assert len(answers) == 1
    assert answers == {f"{born(paths)[0].split()[0]}\n"}


def test_a_stale_socket_is_no_obstacle(paths):
    with FakeDaemon(paths.socket):
        pass
    import socket

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(paths.socket))
    spawn.connect(paths, print)
    assert len(born(paths)) == 1


def test_a_daemon_that_dies_is_told_with_its_last_line(paths, monkeypatch):
    dying = "import sys; print('old noise'); sys.exit('the disk is on fire\\n')"
    monkeypatch.setattr(spawn, "DAEMON", (sys.executable, "-c", dying))
    with pytest.raises(DaemonUnavailable) as told:
        spawn.connect(paths, print)
    assert told.value.summary == "the daemon did not start"
    assert told.value.cause == "the disk is on fire"


def test_a_daemon_that_keeps_silent_is_given_up(paths, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(spawn, "PATIENCE", 0.3)
        patch.setattr(spawn, "DAEMON", ("sleep", "2"))
        with pytest.raises(DaemonUnavailable, match="does not answer"):
            spawn.connect(paths, print)


@pytest.fixture
def leaving(paths, monkeypatch):
    """An old daemon that is about to end still holds the lock, until it was looked at five times.
    Gives how often it was when a daemon was started.
    """
    spawn.secure_dir(paths.state)
    lock = os.open(paths.daemon_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    looks, starts = [], []
    look, launch = spawn._LockedOut.look, spawn._launch

    def looked(self, **more):
        looks.append(look(self, **more))
        if len(looks) == 5:
            os.close(lock)
        return looks[-1]

    monkeypatch.setattr(spawn, "PROMPT", 60)
    monkeypatch.setattr(spawn._LockedOut, "look", looked)
    monkeypatch.setattr(spawn, "_launch", lambda log: starts.append(len(looks)) or launch(log))
    return starts


def test_nobody_is_started_before_the_one_who_leaves_has_left(paths, leaving):
    assert spawn.connect(paths, print).status()["version"] == __version__
    assert leaving[0] > 5


def test_the_loser_of_a_race_tries_again(paths, leaving, monkeypatch):
    """Where it cannot be seen who has the lock."""
    monkeypatch.setattr("banger_core.client.holder.lock_holder", lambda _: None)
    assert spawn.connect(paths, print).status()["version"] == __version__
    assert leaving[0] == 1
    assert len(leaving) > 1


@pytest.mark.parametrize("older", ["0.0.9", "", f"{__version__}.dev1"])
def test_an_older_daemon_is_replaced_and_it_is_said(paths, monkeypatch, older):
    monkeypatch.setenv("SMALL_VERSION", older)
    spawn.start(paths, print)
    monkeypatch.delenv("SMALL_VERSION")
    told = []
    assert spawn.connect(paths, told.append).status()["version"] == __version__
    assert len(born(paths)) == 2
    assert len(told) == 1
    assert "virtual machines go on running" in told[0]


def test_a_newer_daemon_is_left_alone(paths, monkeypatch):
    monkeypatch.setenv("SMALL_VERSION", "999.0")
    spawn.start(paths, print)
    with pytest.raises(DaemonUnavailable, match="is older than the running daemon"):
        spawn.connect(paths, print)
    assert len(born(paths)) == 1
    assert spawn.running(paths) is not None


def test_a_daemon_that_does_not_leave_is_told(paths, monkeypatch):
    client = spawn.connect(paths, print)
    with monkeypatch.context() as patch:
        patch.setattr(spawn, "PATIENCE", 0.2)
        patch.setattr(client, "call", lambda *_: {})
        with pytest.raises(DaemonUnavailable, match="does not stop"):
            spawn.stop(client, paths)


@pytest.mark.parametrize(
    ("older", "newer"),
    [("0.9", "0.10"), ("1.0.dev1", "1.0"), ("1.0rc1", "1.0"), ("", "0.1"), ("1.0", "1.0.1")],
)
def test_versions_are_ordered(older, newer):
    assert spawn._rank(older) < spawn._rank(newer)
