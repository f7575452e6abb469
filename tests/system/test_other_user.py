"""Two users on one machine: what another user plants is not used, what is ours is out of reach.

The one who runs banger here is a user without rights, but may read everything (CAP_DAC_READ_SEARCH)
so that a Python in somebody's home serves. Files are given to the other user by root: it makes no
difference who ran mkdir.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from banger_core.testing import leaks
from banger_core.testing.fakes import CONFIG
from banger_core.testing.install import install_plugin

# OpenSSH's programs want a user that the system knows, and nothing runs as this one
US = pwd.getpwnam("daemon").pw_uid
THEM = 41002
TIMEOUT = 120

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two other users"),
]

# Looks at everything below argv[2:] for as long as its input is open, and tries it as uid argv[1];
# says when it has looked at all of it since it was asked
SAMPLER = r"""
import json, os, select, socket, stat, sys
them, roots = int(sys.argv[1]), sys.argv[2:]
seen = {"rounds": 0, "sockets": set(), "reached": set(), "loose": set()}
os.setgroups([])
os.setresgid(them, them, 0)

def look(place):
    seen["rounds"] += 1
    for directory, below, files in os.walk(place):
        for path in [directory, *(os.path.join(directory, name) for name in files)]:
            try:
                facts = os.lstat(path)
            except OSError:
                continue
            if facts.st_mode & 0o077 and not stat.S_ISLNK(facts.st_mode):
                seen["loose"].add(f"{path} {facts.st_mode:o}")
            if stat.S_ISSOCK(facts.st_mode):
                seen["sockets"].add(os.path.basename(path))
            attempt(path, facts)

def attempt(path, facts):
    os.seteuid(them)
    try:
        if stat.S_ISSOCK(facts.st_mode):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.setblocking(False)
                peer.connect(path)
        elif not stat.S_ISFIFO(facts.st_mode):
            os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW))
        seen["reached"].add(path)
    except OSError:
        pass
    finally:
        os.seteuid(0)

print("looking", flush=True)
while True:
    asked = select.select([0], [], [], 0)[0] and os.read(0, 1)
    for place in roots:
        look(place)
    if asked:
        print("looked", flush=True)
    elif asked == b"" and seen["rounds"] > 100:
        break
print(json.dumps({k: v if k == "rounds" else sorted(v) for k, v in seen.items()}))
"""

# Puts a link and a directory at argv[2], in turns, as uid argv[1]; the link leads to argv[3]
SWAPPER = r"""
import os, select, sys
them, place, target = int(sys.argv[1]), sys.argv[2], sys.argv[3]
os.setgroups([])
os.setresgid(them, them, them)
os.setresuid(them, them, them)
print("swapping", flush=True)
while not select.select([0], [], [], 0)[0]:
    try:
        os.symlink(target, place)
        os.unlink(place)
        os.mkdir(place, 0o777)
        os.rmdir(place)
    except OSError:
        pass
"""


@dataclass(frozen=True)
class House:
    """A user's banger: everything lies below ``place``, which all users can enter."""

    place: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def tmp(self) -> Path:
        return self.place / "tmp"

    @property
    def private(self) -> list[Path]:
        """All that banger makes."""
        names = (".local", ".cache", ".config/banger")
        return [*(self.home / name for name in names), self.tmp / f"banger-{US}"]

    def with_env(self, **changes: object) -> House:
        return replace(self, env={**self.env, **{key: str(changes[key]) for key in changes}})

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        # access(2) counts rights only with that bit
        rights = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        bits = ("--clear-groups", "--securebits=+no_setuid_fixup")
        as_us = ("setpriv", f"--reuid={US}", f"--regid={US}", *bits, *rights)
        return subprocess.run(
            [*as_us, sys.executable, "-m", "banger_core", *words],
            env=self.env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
            umask=0,
        )

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def refused(self) -> str:
        """Ask for a list, which must fail for the sake of a directory; return what is said."""
        done = self.run("vm", "list")
        assert (done.returncode, done.stdout) == (4, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert re.search(r"^error: .*\n(.*\n)*cause: .*\n(.*\n)*try: ", done.stderr)
        return done.stderr


@pytest.fixture
def house() -> Iterator[House]:
    # Short, because Unix sockets lie below
    place = Path(tempfile.mkdtemp(prefix="bu-", dir="/tmp"))
    try:
        for name, mode, owner in (("home", 0o755, US), ("tmp", 0o1777, 0), ("site", 0o755, 0)):
            (place / name).mkdir()
            (place / name).chmod(mode)
            os.chown(place / name, owner, owner)
        place.chmod(0o755)
        install_plugin(place / "site", "fakes", module="banger_core.testing.fakes")
        config = place / "home" / ".config" / "banger" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(CONFIG)
        for path in (config.parent.parent, config.parent, config):
            path.chmod(0o600 if path == config else 0o700)
            os.chown(path, US, US)
        yield House(
            place,
            {
                "PATH": os.environ["PATH"],
                "HOME": str(place / "home"),
                "TMPDIR": str(place / "tmp"),
                "PYTHONPATH": str(place / "site"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "BANGER_PLUGINS": "fakes",
                "NO_COLOR": "1",
            },
        )
        assert not (left := leaks.end(leaks.processes_using(place))), f"left behind: {left}"
    finally:
        leaks.end(leaks.processes_using(place))
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def beside(script: str, *words: object) -> Iterator[dict[str, Any]]:
    """Run a script while the block lasts; what it says at the end is in what is yielded, and
    before that how to wait until it has looked at everything (``look``).
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", script, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def look() -> None:
        assert process.stdin
        assert process.stdout
        process.stdin.write("?")
        process.stdin.flush()
        assert process.stdout.readline() == "looked\n"

    said: dict[str, Any] = {"look": look}
    with process:
        assert process.stdout
        assert process.stdout.readline()
        try:
            yield said
        finally:
            out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    said.update(json.loads(out or "{}"))


def test_nobody_else_reaches_anything_at_any_moment(house):
    with beside(SAMPLER, THEM, *house.private) as seen:
        for _ in range(2):
            house.ok("vm", "run", "--detach", "--name", "web")
            seen["look"]()
            house.ok("vm", "delete", "--force", "web")
            house.ok("daemon", "stop")
    assert seen["rounds"] > 100
    assert {"bangerd.sock", "console.sock"} <= set(seen["sockets"])
    assert seen["loose"] == []
    assert seen["reached"] == []


@pytest.mark.system
@pytest.mark.timeout(900)
def test_nobody_else_reaches_a_real_machine(banger):
    """QEMU's sockets and those of shared SSH connections as well."""
    banger.ok("daemon", "stop")
    banger.home.chmod(0o755)
    with beside(SAMPLER, THEM, banger.state, banger.runtime) as seen:
        banger.ok("vm", "run", "--detach", "--name", "web", "--memory", "192M")
        # The connection that commands share is opened a moment after the machine answers
        deadline = time.monotonic() + 60
        while not list(banger.runtime.glob("vms/*/mux")):
            assert time.monotonic() < deadline, "no shared connection"
            time.sleep(0.05)
        banger.ok("vm", "exec", "web", "--", "true")
        seen["look"]()
        banger.ok("vm", "delete", "--force", "web")
    assert {"bangerd.sock", "console.sock", "qmp.sock", "mux"} <= set(seen["sockets"])
    assert seen["loose"] == []
    assert seen["reached"] == []


def test_what_is_looser_is_found(house):
    """The test above would notice."""
    open_place = house.place / "open"
    open_place.mkdir(mode=0o755)
    before = os.umask(0)
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(open_place / "s"))
        finally:
            os.umask(before)
        listener.listen()
        with beside(SAMPLER, THEM, open_place) as seen:
            seen["look"]()
    assert str(open_place / "s") in seen["reached"]
    assert len(seen["loose"]) == 2


# --- a hostile temporary directory ---------------------------------------------------------------


def _directory(bits: int) -> Callable[[Path, Path], None]:
    def plant(place: Path, _: Path) -> None:
        place.mkdir()
        place.chmod(bits)

    return plant


PLANTED = {
    "directory": _directory(0o755),
    "open directory": _directory(0o777),
    "sticky directory": _directory(0o1777),
    "closed directory": _directory(0o700),
    "link": lambda place, target: place.symlink_to(target),
    "dangling link": lambda place, target: place.symlink_to(target / "new"),
    "file": lambda place, _: place.write_text("theirs"),
    "pipe": lambda place, _: os.mkfifo(place),
}


def facts_of(*places: Path) -> dict[str, tuple[object, ...]]:
    """Everything about all that lies at and below ``places``."""
    found = {}
    for place in places:
        for path in [place, *(place.rglob("*") if not place.is_symlink() else ())]:
            seen = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(seen.st_mode) else b""
            found[str(path)] = (seen.st_mode, seen.st_uid, seen.st_ino, seen.st_mtime_ns, content)
    return found


@pytest.mark.parametrize("target_owner", [US, THEM])
@pytest.mark.parametrize("sticky", [True, False])
@pytest.mark.parametrize("kind", PLANTED)
def test_a_hostile_temporary_directory(house, kind, sticky, target_owner):
    target = house.place / "target"
    target.mkdir(mode=0o700)
    (target / "precious").write_text("ours")
    for path in (target, target / "precious"):
        os.chown(path, target_owner, target_owner)
    place = house.tmp / f"banger-{US}"
    PLANTED[kind](place, target)
    os.chown(place, THEM, THEM, follow_symlinks=False)
    if not sticky:
        house.tmp.chmod(0o777)
    before = facts_of(place, target)
    said = house.refused()
    # Whoever may write in a place that is not sticky can replace everything in it
    assert f"{place if sticky else house.tmp}" in said.partition("cause: ")[2]
    assert facts_of(place, target) == before


def test_a_link_or_directory_that_comes_and_goes(house):
    """Whatever is there at the moment: it is ours, or it is refused and nothing is written."""
    target = house.place / "target"
    target.mkdir(mode=0o700)
    os.chown(target, US, US)
    before = facts_of(target)
    place = house.tmp / f"banger-{US}"
    with beside(SWAPPER, THEM, place, target):
        for _ in range(8):
            if (done := house.run("daemon", "start")).returncode == 0:
                break
            assert done.returncode == 4, done.stderr
    assert facts_of(target) == before
    # As soon as it is ours it stays ours
    house.ok("daemon", "start")
    assert (place.lstat().st_uid, stat.S_IMODE(place.lstat().st_mode)) == (US, 0o700)
    house.ok("daemon", "stop")


# --- XDG_RUNTIME_DIR -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "bits", "good"),
    [
        (US, 0o700, True),
        (US, 0o755, True),
        (US, 0o777, False),
        (0, 0o1777, True),
        (THEM, 0o700, False),
        (THEM, 0o777, False),
        (THEM, 0o1777, False),
    ],
)
def test_the_runtime_directory_that_is_given(house, owner, bits, good):
    run = house.place / "run"
    run.mkdir()
    run.chmod(bits)
    os.chown(run, owner, owner)
    before = facts_of(run)
    seen = house.with_env(XDG_RUNTIME_DIR=run)
    if good:
        with beside(SAMPLER, THEM, run / "banger") as sampled:
            seen.ok("vm", "list")
        assert (sampled["loose"], sampled["reached"]) == ([], [])
        assert stat.S_IMODE(run.stat().st_mode) == bits
        seen.ok("daemon", "stop")
    else:
        assert str(run) in seen.refused()
        assert facts_of(run) == before


@pytest.mark.parametrize("value", ["", "relative", "./run"])
def test_a_runtime_directory_that_is_no_path_is_not_used(house, value):
    seen = house.with_env(XDG_RUNTIME_DIR=value)
    seen.ok("vm", "list")
    assert len(list((house.tmp / f"banger-{US}").glob("*/bangerd.sock"))) == 1
    seen.ok("daemon", "stop")


# --- what was open once --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["daemon.log", "daemon.lock", "banger.db", "ssh"])
def test_what_was_planted_while_the_state_was_open(house, name):
    house.ok("vm", "list")
    house.ok("daemon", "stop")
    state = house.home / ".local" / "state" / "banger"
    target = house.place / "target"
    target.mkdir()
    (target / "file").write_text("precious")
    os.chown(target, US, US)
    os.chown(target / "file", US, US)
    if (state / name).is_dir():
        shutil.rmtree(state / name)
    else:
        (state / name).unlink()
    (state / name).symlink_to(target if name == "ssh" else target / "file")
    os.chown(state / name, THEM, THEM, follow_symlinks=False)
    state.chmod(0o777)
    before = facts_of(target)
    for _ in range(2):
        assert f"'{name}' belongs to uid {THEM}" in house.refused()
        assert facts_of(target) == before
    (state / name).unlink()
    house.ok("vm", "list")
    house.ok("daemon", "stop")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_a_socket_of_another_user_is_not_talked_to(house):
    house.ok("vm", "list")
    house.ok("daemon", "stop")
    address = (house.home / ".local/state/banger/daemon.address").read_text()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        os.chown(address, THEM, THEM)
        listener.listen()
        done = house.run("vm", "list")
        assert done.returncode == 1
        assert f"{address} cannot be trusted" in done.stderr
        listener.setblocking(False)
        said = b""
        while True:
            try:
                said += listener.accept()[0].recv(1)
            except BlockingIOError:
                break
    assert said == b""
    Path(address).unlink()
