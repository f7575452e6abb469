"""The daemon dies, fails or is interrupted at every registered failpoint: nothing is left behind,
nothing is half made, and the same command works afterwards.
"""

from __future__ import annotations

import hashlib
import pkgutil
import signal
from dataclasses import dataclass
from importlib import import_module

import pytest

import banger_core
from banger_core.engine.failpoints import POINTS
from banger_core.testing.kernel_images import make_vmlinux
from banger_core.testing.rootfs_images import make_ext4

IMAGE = ("image", "pull", "fake://small")
RUN = ("vm", "run", "-d", "--name", "one")
CREATE = ("vm", "create", "--name", "one")

REGISTER = ("image", "register", "--name", "own", "--rootfs", "MINE/root.ext4",
            "--kernel-ref", "fake-kernel")  # fmt: skip
OWN = ("image", "register", "--name", "own", "--rootfs", "MINE/root.ext4",
       "--kernel", "MINE/vmlinux")  # fmt: skip

EXPORT = ("image", "export", "own", "MINE/own.tar", "--force")
IMPORT = ("image", "import", "MINE/own.tar", "--name", "new")

BUILD = ("image", "build", "--from", "fake://small", "--name", "new", "--script", "MINE/script")

BUILDING = (
    "build.after_boot",
    "build.after_steps",
    "build.after_stop",
    "build.after_intent",
    "build.before_record",
)
EXPORTING = ("export.after_write", "export.after_rename")
IMPORTING = ("import.after_intent", "import.after_files", "import.before_record")
REGISTERING = ("register.after_intent", "register.before_record")
PROMOTING = ("promote.after_copy",)
PULLING = ("pull.after_intent", "pull.after_rootfs", "pull.before_record")
CREATING = (
    "create.after_record",
    "create.after_directory",
    "create.after_disk",
    "create.after_build",
)
STARTING = (
    "start.after_seed",
    "start.after_network",
    "start.after_launch",
    "start.after_process",
    "start.after_ready",
    "start.after_publish",
)
STOPPING = ("stop.after_shutdown",)
PAUSING = ("pause.after_state", "pause.after_vmm")
RESUMING = ("resume.after_vmm",)
KILLING = ("kill.after_signal",)
RESTARTING = ("restart.after_stop",)
CHANGING = ("set.after_record",)
SNAPPING = ("snapshot.after_pause", "snapshot.after_copy", "snapshot.before_record")
UNSNAPPING = ("snapshot.after_forget",)
FORKING = ("fork.after_record", "fork.after_take", "fork.after_build", "wake.before_resume",
           "wake.before_connect")  # fmt: skip
GOING_BACK = ("restore.after_swap", "wake.before_resume")
DELETING = ("delete.after_state", "delete.after_effects")


BEHIND = ("warm.after_intent", "warm.after_save", "warm.after_publish")
"""No command comes by these: what happens behind its back is in test_warm_failpoints.py."""


@dataclass(frozen=True)
class Way:
    """A command that comes by ``points``, after ``before``; and the states of the VMs after it
    was killed or interrupted, after it failed, and after it was repeated. A ``leased`` machine goes
    by itself when its daemon is gone, soon after the next one answers.
    """

    name: str
    points: tuple[str, ...]
    before: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    killed: dict[str, str]
    failed: dict[str, str]
    repeated: dict[str, str]
    images: int = 1
    again: int = 0
    leased: bool = False


NONE: dict[str, str] = {}
STOPPED, RUNNING = {"one": "stopped"}, {"one": "running"}
PAUSED = {"one": "paused"}
NOT_FOUND = 2
NOT_RUNNING = 1

PAUSE, RESUME = ("vm", "pause", "one"), ("vm", "resume", "one")
KILL, RESTART = ("vm", "kill", "one"), ("vm", "restart", "one")
SET = ("vm", "set", "one", "--disk-size", "128M", "--memory", "256M")

SNAPSHOT = ("vm", "snapshot", "create", "one", "then")
RESTORE = ("vm", "snapshot", "restore", "one", "then")
UNSNAPSHOT = ("vm", "snapshot", "delete", "one", "then")
FORK = ("vm", "fork", "one", "-n", "2")
BACK = (RUN, SNAPSHOT)

WAYS = (
    Way("pull", PULLING, (), IMAGE, NONE, NONE, NONE, images=0),
    Way("run-pulls", PULLING, (), RUN, NONE, NONE, RUNNING, images=0),
    Way("run", (*CREATING, *STARTING), (IMAGE,), RUN, NONE, NONE, RUNNING),
    Way("create", CREATING, (IMAGE,), CREATE, NONE, NONE, STOPPED),
    Way("start", STARTING, (CREATE,), ("vm", "start", "one"), STOPPED, STOPPED, RUNNING),
    Way("stop", STOPPING, (RUN,), ("vm", "stop", "one"), STOPPED, STOPPED, STOPPED),
    Way("register", REGISTERING, (), REGISTER, NONE, NONE, NONE, images=0),
    Way("promote", PROMOTING, (OWN,), ("image", "promote", "own"), NONE, NONE, NONE),
    Way("build", BUILDING, (IMAGE,), BUILD, NONE, NONE, NONE, leased=True),
    Way("export", EXPORTING, (OWN,), EXPORT, NONE, NONE, NONE),
    Way("import", IMPORTING, (OWN, EXPORT), IMPORT, NONE, NONE, NONE),
    Way("pause", PAUSING, (RUN,), PAUSE, PAUSED, RUNNING, PAUSED),
    Way("resume", RESUMING, (RUN, PAUSE), RESUME, PAUSED, PAUSED, RUNNING),
    Way("kill", KILLING, (RUN,), KILL, STOPPED, STOPPED, STOPPED, again=NOT_RUNNING),
    Way("restart", RESTARTING, (RUN,), RESTART, STOPPED, STOPPED, RUNNING),
    Way("set", CHANGING, (CREATE,), SET, STOPPED, STOPPED, STOPPED),
    Way("snapshot", SNAPPING, (RUN,), SNAPSHOT, RUNNING, RUNNING, RUNNING),
    Way("snapshot-delete", UNSNAPPING, BACK, UNSNAPSHOT, RUNNING, RUNNING, RUNNING,
        again=NOT_FOUND),
    Way("restore-copies", ("restore.after_copy",), BACK, RESTORE, RUNNING, RUNNING, RUNNING),
    Way("restore", GOING_BACK, BACK, RESTORE, STOPPED, STOPPED, RUNNING),
    Way("restore-ends", ("restore.before_forget",), BACK, RESTORE, RUNNING, RUNNING, RUNNING),
    Way("fork", FORKING, (RUN,), FORK, RUNNING, RUNNING,
        {"one": "running", "one-1": "running", "one-2": "running"}),
    # What was to be deleted is never taken into use again, so a failure leaves it "deleting"
    Way("delete", DELETING, (CREATE,), ("vm", "delete", "one"), NONE, {"one": "deleting"}, NONE,
        again=NOT_FOUND),
    Way("delete-running", DELETING, (RUN,), ("vm", "delete", "--force", "one"), NONE,
        {"one": "deleting"}, NONE, again=NOT_FOUND),
)  # fmt: skip

CASES = [pytest.param(way, point, id=f"{way.name}-{point}") for way in WAYS for point in way.points]

FAILING = ("pull", "run", "start", "stop", "delete", "register", "promote", "export", "import",
           "build", "pause", "resume", "kill", "restart", "set", "snapshot", "restore-copies",
           "restore", "fork")  # fmt: skip


@pytest.fixture(scope="module")
def every_point():
    """All points, once everything that may register one has been imported."""
    for module in pkgutil.walk_packages(banger_core.__path__, "banger_core."):
        if not module.name.endswith(("__main__", ".pytest_plugin")):
            import_module(module.name)
    return set(POINTS)


def test_every_point_has_a_row(every_point):
    assert every_point == {point for way in WAYS for point in way.points} | set(BEHIND)


def disks(house):
    """The root disks, and what they hold."""
    return {
        disk.parent.name: hashlib.sha256(disk.read_bytes()).hexdigest()
        for disk in house.state.glob("vms/*/root.*")
    }


def prepare(house, way, failpoint):
    if way.name == "build":
        willing_ssh(house)
    daemon = house.daemon(failpoint)
    for words in way.before:
        house.ok(*placed(house, words))
    return daemon, disks(house)


def willing_ssh(house):
    """Stands for a guest in which every command works: the fake one lets nobody in."""
    program = house.home / "bin" / "ssh"
    program.write_text("#!/bin/sh\ncat >/dev/null\n")
    program.chmod(0o700)
    house.env["PATH"] = f"{program.parent}:{house.env['PATH']}"


def placed(house, words):
    """A command with the user's own files, which are made when they are named."""
    mine = house.home / "mine"
    if any(word.startswith("MINE/") for word in words) and not mine.exists():
        mine.mkdir()
        make_ext4(mine / "root.ext4")
        (mine / "vmlinux").write_bytes(make_vmlinux())
        (mine / "script").write_text("true\n")
    return [word.replace("MINE/", f"{mine}/") for word in words]


def assert_settled(house, way, states, before):
    assert house.states() == states
    assert len(house.rows("SELECT id FROM images")) == way.images
    assert house.leftovers() == []
    if "one" in states:
        assert disks(house) == before
    else:
        assert disks(house) == {}


def assert_works_again(house, way, states, status=0):
    done = house.run(*placed(house, way.command))
    assert done.returncode == status, done.stderr
    assert house.states() == states
    assert house.leftovers() == []


@pytest.mark.parametrize(("way", "point"), CASES)
def test_killed(house, way, point):
    daemon, before = prepare(house, way, f"{point}:kill")
    done = house.run(*placed(house, way.command))
    assert done.returncode == 1, done.stderr
    assert "error: bangerd went away\ncause: " in done.stderr
    assert "Traceback" not in done.stderr
    assert daemon.wait(timeout=60) == -signal.SIGKILL
    # The next command starts a daemon, which settles what it finds
    if way.leased:
        house.until(lambda: house.vms() == [])
    assert {vm["name"]: vm["state"] for vm in house.vms()} == way.killed
    assert_settled(house, way, way.killed, before)
    assert_works_again(house, way, way.repeated, way.again)


# A kill is undone from the records alone; whoever else comes by a point undoes a failure alike
@pytest.mark.parametrize(
    ("way", "point"), [case for case in CASES if case.values[0].name in FAILING]
)
def test_failed(house, way, point):
    daemon, before = prepare(house, way, f"{point}:error")
    done = house.run(*placed(house, way.command))
    assert done.returncode == 1, done.stderr
    assert f"error: failpoint {point} was reached\n" in done.stderr
    assert "cause: BANGER_FAILPOINT asks for an error\n" in done.stderr
    assert daemon.poll() is None
    if "deleting" in way.failed.values():
        # Unless the next looks at what is left have come already
        assert house.states() in (way.failed, {})
    else:
        assert_settled(house, way, way.failed, before)
    assert "Traceback" not in house.log()
    assert house.daemon_pids() == {daemon.pid}
    daemon.terminate()
    assert daemon.wait(timeout=60) == 0
    assert_works_again(house, way, way.repeated, way.again)
