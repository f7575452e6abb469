"""Real machines for the system tests: a banger of its own for each module, one shared cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from drivers import DRIVER, configuration

from banger_core.config.paths import Paths
from banger_core.store.locks import FileLock
from banger_core.testing.ledger import Ledger, take
from banger_core.testing.wheels import shared_cache

_NEVER = ("process", "mount", "socket", "dns", "pin")
"""What is not there when no machine and no daemon is."""

ROOT = Path(__file__).parents[2]
TIMEOUT = 480
"""Seconds for one command: the first one downloads, everything runs under emulation."""
PATIENCE = 90
"""Seconds for what ends by itself: the responder for names looks once a second."""


@dataclass(frozen=True)
class Banger:
    """The command line, with directories of its own."""

    home: Path
    env: dict[str, str]
    within: Callable[[], AbstractContextManager[None]] = nullcontext
    """What its commands are started in."""

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def runtime(self) -> Path:
        return self.home / "run"

    @property
    def paths(self) -> Paths:
        return Paths(self.home / "config", self.state, self.home / "no-cache", self.runtime)

    def argv(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "banger_core", *args]

    def run(
        self, *args: str, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end."""
        with self.within():
            return subprocess.run(
                self.argv(*args),
                input=stdin,
                capture_output=True,
                timeout=TIMEOUT,
                env={**self.env, **(env or {})},
                check=False,
            )

    def ok(self, *args: str, stdin: bytes = b"") -> str:
        """Run a command that must succeed and return its stdout."""
        done = self.run(*args, stdin=stdin)
        assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def json(self, *args: str) -> Any:
        """Run a command with ``--json`` and return what it says."""
        return json.loads(self.ok(*args, "--json"))

    def popen(self, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        with self.within():
            return subprocess.Popen(self.argv(*args), env=self.env, **options)

    def vm_names(self) -> list[str]:
        return [vm["name"] for vm in self.json("vm", "list")]

    def daemon_pid(self) -> int:
        return int(self.json("daemon", "status")["pid"])

    def processes(self) -> list[int]:
        """Every process that has one of our directories in its environment or arguments."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                text = (entry / "cmdline").read_bytes()
                zombie = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
            except OSError:
                continue
            if os.fsencode(self.home) in text and not zombie:
                found.append(int(entry.name))
        return found

    def ledger(self) -> Ledger:
        """All that is on this host of this banger. The cache belongs to many, and stays."""
        return take(self.paths)

    def leftovers(self) -> list[str]:
        """Whatever still belongs to a VM: processes, mounts, sockets, directories, notes, pins."""
        ledger = self.ledger()
        shelves = [self.state / "vms", self.runtime / "vms", self.state / "ssh" / "vms"]
        return [
            *(f"{kind} {what}" for kind in _NEVER for what in ledger.of(kind)),
            *(what for what in ledger.of("file") if shelves_hold(shelves, what)),
            *(
                what
                for what in ledger.of("row")
                if what.startswith(("vms:", "intents: ")) and " image-" not in what
            ),
        ]

    def left_in_the_end(self) -> list[str]:
        """``leftovers``, when what ends by itself after the daemon has had the time for it."""
        deadline = time.monotonic() + PATIENCE
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left


def shelves_hold(shelves: list[Path], what: str) -> bool:
    return any(what.startswith(f"{shelf}/") for shelf in shelves)


def make_banger(home: Path, cache: Path) -> Banger:
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("BANGER_", "SSH_"))
    }
    env.update(
        HOME=str(home / "home"),
        BANGER_STATE_DIR=str(home / "state"),
        BANGER_CONFIG_DIR=str(home / "config"),
        BANGER_RUNTIME_DIR=str(home / "run"),
        BANGER_CACHE_DIR=str(cache),
        NO_COLOR="1",
    )
    for name in ("home", "config"):
        (home / name).mkdir(parents=True, mode=0o700)
    text = configuration(os.environ.get(DRIVER, ""))
    (home / "config" / "config.toml").write_text(text)
    return Banger(home, env)


@contextmanager
def fresh_banger() -> Iterator[Banger]:
    """A banger in directories of its own, which are gone afterwards with all that runs there."""
    # Short, because Unix sockets lie below
    home = Path(tempfile.mkdtemp(prefix="bs-"))
    one = make_banger(home, shared_cache())
    try:
        # One at a time: the first fills the cache, the others find everything in it
        lock = FileLock(shared_cache() / "tests.lock")
        lock.acquire(TIMEOUT)
        with lock:
            one.ok("image", "pull", "debian://bookworm")
        yield one
    finally:
        one.run("daemon", "stop")
        for pid in one.processes():
            os.kill(pid, 9)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def parts() -> Iterator[Banger]:
    """A banger that only keeps its image, for tests below the command line."""
    with fresh_banger() as one:
        yield one


@pytest.fixture(scope="module")
def banger_within() -> Callable[..., AbstractContextManager[Banger]]:
    """A function: a banger whose commands are started in what it is given. The image is pulled
    where the tests are.
    """

    @contextmanager
    def make(within: Callable[[], AbstractContextManager[None]]) -> Iterator[Banger]:
        with fresh_banger() as elsewhere:
            elsewhere.ok("daemon", "stop")
            one = replace(elsewhere, within=within)
            try:
                yield one
            finally:
                one.run("daemon", "stop")

    return make


@pytest.fixture(scope="module")
def banger() -> Iterator[Banger]:
    """A banger whose default image is ready. At the end nothing of it may be left."""
    with fresh_banger() as one:
        yield one
        for name in one.vm_names():
            one.ok("vm", "delete", "--force", name)
        one.ok("daemon", "stop")
        left = one.left_in_the_end()
        assert not left, f"left behind: {left}"
