"""Configuration, directories and the database: what is wrong with them is said at once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from banger_core.testing.fakes import CONFIG

LIST = ("vm", "list")


@pytest.mark.parametrize(
    ("text", "error", "cause", "hint"),
    [
        ('[vm]\nmemmory = "1G"\n', "there is no setting vm.memmory", "memory", "mean memory?"),
        ("[vmm]\n", "there is no setting vmm", "vm", "did you mean vm?"),
        ('[vm]\nvcpu = "two"\n', 'vm.vcpu = "two" is not possible', "integer", "without that line"),
        ('[vm]\nmemory = "lots"\n', "vm.memory", "", "without that line"),
        ("vm = 3\n", "vm = 3 is not possible", "section", "[vm]"),
        ("[vm\n", "is not valid TOML", "line 1", "edit "),
    ],
)
def test_configuration_that_is_wrong(house, text, error, cause, hint):
    house.configure(text)
    failure = house.refuses(*LIST)
    assert failure.error.startswith(str(house.config_file))
    assert error in failure.error
    assert cause in failure.cause
    assert hint in " | ".join(failure.hints)
    house.configure(CONFIG)
    house.ok(*LIST)
    house.ok("daemon", "stop")


def test_configuration_that_others_can_write(house):
    house.config_file.chmod(0o666)
    failure = house.refuses(*LIST)
    assert failure.error == f"{house.config_file} can be written by other users"
    assert failure.hints == (f"chmod go-w {house.config_file}",)
    house.config_file.chmod(0o644)
    house.ok(*LIST)
    house.ok("daemon", "stop")


@pytest.mark.parametrize("kind", ["RUNTIME", "STATE", "CACHE", "CONFIG"])
def test_directory_that_is_a_symbolic_link(house, kind):
    (house.home / "elsewhere").mkdir()
    link = house.home / "link"
    link.symlink_to(house.home / "elsewhere")
    failure = house.with_env(**{f"BANGER_{kind}_DIR": link}).refuses(*LIST, code=4)
    assert failure.error == f"{link} cannot be used as a private directory"
    assert failure.cause == "it is a symbolic link"
    assert list((house.home / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("kind", ["RUNTIME", "STATE", "CACHE", "CONFIG"])
def test_directory_of_somebody_else(house, kind):
    theirs = house.home / "theirs"
    theirs.mkdir(mode=0o777)
    os.chown(theirs, 12345, 12345)
    seen = house.with_env(**{f"BANGER_{kind}_DIR": theirs})
    failure = seen.refuses(*LIST, code=4)
    assert failure.error == f"{theirs} belongs to another user"
    assert failure.cause == "owner is uid 12345, this is uid 0"
    assert list(theirs.iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/banger", "file/state"])
def test_state_that_cannot_be_made(house, place):
    (house.home / "file").write_text("precious")
    state = house.home / place
    failure = house.with_env(BANGER_STATE_DIR=state).refuses(*LIST, code=4)
    assert str(state) in failure.error
    assert failure.hints[0] == f"ls -ld {state.parent}"


def test_runtime_directory_too_long_for_sockets(house):
    """Also when only a VM's own sockets would not fit."""
    for length in (78, 120):
        long = f"{house.home}-".ljust(length, "x")
        failure = house.with_env(BANGER_RUNTIME_DIR=long).refuses(*LIST, code=4)
        assert failure.error == f"{long} is too long for sockets"
        assert failure.hints == ("set BANGER_RUNTIME_DIR to a shorter directory",)
        Path(long).rmdir()


@pytest.mark.parametrize("bits", [0o777, 0o775])
def test_parent_that_others_may_write(house, bits):
    """They could put another directory in the place of ours; under a sticky bit they cannot."""
    (house.home / "open").mkdir()
    (house.home / "open").chmod(bits)
    # The group of root is root's own, as the group of a user's name is the user's
    os.chown(house.home / "open", -1, 12345 if os.geteuid() == 0 else -1)
    seen = house.with_env(BANGER_STATE_DIR=house.home / "open" / "state")
    if bits & 0o002 or os.geteuid() == 0:
        failure = seen.refuses(*LIST, code=4)
        assert failure.cause.startswith(f"others may replace what is in {house.home / 'open'}")
        assert failure.hints[0] == f"chmod go-w {house.home / 'open'}"
    assert list((house.home / "open").iterdir()) == []
    (house.home / "open").chmod(bits | 0o1000)
    seen.ok(*LIST)
    seen.ok("daemon", "stop")


def _link(path):
    path.symlink_to(path.parent.parent / "planted")


PLANTED = [
    (_link, "it is a symbolic link", "Too many levels of symbolic links"),
    (os.mkfifo, "No such device or address", "Invalid argument"),
    (Path.mkdir, "Is a directory", "Is a directory"),
]


@pytest.mark.parametrize(("plant", "of_log", "_"), PLANTED)
def test_log_that_is_no_file(house, plant, of_log, _):
    house.state.mkdir(mode=0o700)
    log = house.state / "daemon.log"
    plant(log)
    (house.home / "planted").write_text("precious")
    failure = house.refuses(*LIST, code=4)
    assert failure.error == f"the daemon's log {log} cannot be written"
    assert failure.cause == of_log
    assert failure.hints == (f"ls -l {log}", f"mv {log} {log}.old")
    assert (house.home / "planted").read_text() == "precious"


@pytest.mark.parametrize(("plant", "_", "of_lock"), PLANTED)
def test_lock_that_is_no_file(house, plant, _, of_lock):
    house.state.mkdir(mode=0o700)
    lock = house.state / "daemon.lock"
    plant(lock)
    (house.home / "planted").write_text("precious")
    failure = house.refuses(*LIST, code=4)
    assert failure.error == f"{lock} cannot be locked"
    assert failure.cause == of_lock
    assert failure.hints[-1] == f"mv {lock} {lock}.old"
    assert (house.home / "planted").read_text() == "precious"


@pytest.mark.parametrize("kind", ["RUNTIME", "STATE"])
def test_directory_that_vanishes_under_the_daemon(house, kind):
    """The daemon leaves and says why; VMs go on, and the next command has a new daemon."""
    house.ok("vm", "run", "--detach", "--name", "web")
    before = house.json("daemon", "status")["pid"]
    old = house.home / "old"
    place = Path(house.env[f"BANGER_{kind}_DIR"])
    place.rename(old)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{before}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    log = (old if kind == "STATE" else house.state) / "daemon.log"
    assert f"{place}/" in log.read_text()
    assert "was removed or replaced: leaving; virtual machines go on running" in log.read_text()
    if kind == "STATE":
        old.rename(place)
    assert [(vm["name"], vm["state"]) for vm in house.json(*LIST)] == [("web", "running")]
    assert house.json("daemon", "status")["pid"] != before
    house.close()


def test_socket_that_vanishes_while_nobody_waits(house):
    """A command that comes at once waits for the old daemon to leave, and gets an answer."""
    house.ok(*LIST)
    shutil.rmtree(house.env["BANGER_RUNTIME_DIR"])
    house.ok(*LIST)
    house.close()


def test_another_runtime_directory_leads_to_the_same_daemon(house):
    """As for cron and sudo, which have no XDG_RUNTIME_DIR."""
    house.ok("vm", "run", "--detach", "--name", "web")
    (house.home / "other").mkdir(mode=0o700)
    pid = house.json("daemon", "status")["pid"]
    elsewhere = house.with_env(BANGER_RUNTIME_DIR=house.home / "other" / "run")
    assert elsewhere.json("daemon", "status")["pid"] == pid
    assert [vm["name"] for vm in elsewhere.json(*LIST)] == ["web"]
    assert list((house.home / "other").iterdir()) == []
    elsewhere.close()
    # The address is that of a daemon that has gone: a new one comes, where it belongs now
    elsewhere.ok(*LIST)
    assert (house.home / "other" / "run" / "bangerd.sock").exists()
    elsewhere.close()


def _garbage(path):
    path.write_bytes(b"no database" * 1000)


def _newer(path):
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def _foreign(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name)")
    database.close()


@pytest.mark.parametrize(
    ("spoil", "error", "hint"),
    [
        (_garbage, "is damaged", "start afresh: mkdir "),
        (_newer, "was written by a newer banger", "upgrade banger"),
        (_foreign, "is not banger's database", "set BANGER_STATE_DIR"),
    ],
)
def test_database_that_cannot_be_used(house, spoil, error, hint):
    house.state.mkdir(mode=0o700)
    database = house.state / "banger.db"
    spoil(database)
    before = database.read_bytes()
    failure = house.refuses(*LIST, code=1)
    assert failure.error == f"{database} {error}"
    assert failure.hints[0].startswith(hint)
    assert database.read_bytes() == before
    for path in house.state.glob("banger.db*"):
        path.unlink()
    house.ok(*LIST)
    house.ok("daemon", "stop")
