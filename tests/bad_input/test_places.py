"""Configuration, directories and the database: what is wrong with them is said at once."""

from __future__ import annotations

import os
import sqlite3
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
