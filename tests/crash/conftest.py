"""A whole banger over the fakes: real command line, real daemon, its own directories."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from banger_core.client.client import Client, url
from banger_core.client.operations import Operation
from banger_core.config.paths import Paths
from banger_core.engine.effects import RUN_KINDS, SWAP_KINDS
from banger_core.errors import DaemonUnavailable
from banger_core.testing import leaks
from banger_core.testing.fakes import CONFIG
from banger_core.testing.install import install_plugin
from banger_core.testing.ledger import Ledger, idle, take

TIMEOUT = 90
DAEMON = b"banger_core.daemon"

# Stands for a session that lasts: the fake guest greets, but nobody can log in
SSH = """#!/bin/sh
exec sleep 600
"""


@dataclass
class House:
    """The command line and the daemon, over directories below ``home``."""

    home: Path
    env: dict[str, str]
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def runtime(self) -> Path:
        return self.home / "run"

    @property
    def paths(self) -> Paths:
        cache = Path(self.env["BANGER_CACHE_DIR"])
        return Paths(self.home / "config", self.state, cache, self.runtime)

    # --- doing -------------------------------------------------------------------------------

    def popen(self, *words: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "banger_core", *words],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        with self.popen(*words) as command:
            out, err = command.communicate(timeout=TIMEOUT)
        return subprocess.CompletedProcess(words, command.returncode, out, err)

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stderr}\n{self.log()}"
        return done.stdout

    def operate(self, method: str, *segments: str, body: Any = None, **query: object) -> Any:
        """Have the daemon do something, as the command line would ask it, and return the result.
        Raises what it failed with.
        """
        client = Client(self.runtime / "bangerd.sock")
        return Operation(client, method, url(*segments, **query), body).follow(lambda _: None)

    def create(self, name: str, *, start: bool = True) -> Any:
        """``vm run -d --name NAME`` (or ``vm create``) without a process for it."""
        return self.operate("POST", "vms", body={"request": {"name": name}, "start": start})

    def delete(self, name: str) -> None:
        """``vm delete --force NAME`` without a process for it."""
        self.operate("DELETE", "vms", name, force=True)

    def daemon(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        """Start a daemon ourselves, so that we see how it ends; return when it answers."""
        self.state.mkdir(mode=0o700, exist_ok=True)
        with (self.state / "daemon.log").open("ab") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", DAEMON.decode()],
                env={**self.env, "BANGER_FAILPOINT": failpoint},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.daemons.append(daemon)
        self.until(lambda: self.answers(daemon))
        assert daemon.poll() is None, self.log()
        return daemon

    def answers(self, daemon: subprocess.Popen[bytes]) -> bool:
        """Whether it is this daemon that answers; one that has ended is told by ``poll``."""
        if daemon.poll() is not None:
            return True
        with contextlib.suppress(DaemonUnavailable):
            return bool(Client(self.runtime / "bangerd.sock").status()["pid"] == daemon.pid)
        return False

    def until(self, what: Callable[[], Any], why: Callable[[], str] = str) -> Any:
        """Wait until ``what`` gives something true, and return that; else ``why`` says more."""
        deadline = time.monotonic() + TIMEOUT
        while not (found := what()):
            assert time.monotonic() < deadline, f"{why()}\n{self.log()}"
            time.sleep(0.02)
        return found

    def greeting(self, name: str) -> bytes:
        """What a machine says to those who reach it as its note tells."""
        note = json.loads(self.paths.note(name).read_text())
        with socket.create_connection((note["host"], note["port"]), timeout=TIMEOUT) as reached:
            return reached.recv(64)

    # --- looking -----------------------------------------------------------------------------

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.state / "daemon.log").read_text()
        return ""

    def vms(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.ok("vm", "list", "--json"))
        return found

    def states(self) -> dict[str, str]:
        """The states of the VMs as recorded; does not start a daemon."""
        return dict(self.rows("SELECT name, state FROM vms"))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database itself: what the daemon says is not all that it keeps."""
        with contextlib.closing(sqlite3.connect(self.state / "banger.db")) as database:
            return database.execute(query).fetchall()

    def processes(self, words: bytes = b"") -> set[int]:
        """Every process that has our directories in its arguments or environment, and ``words``
        in its arguments.
        """
        return {pid for pid in leaks.processes_using(self.home) if words in command(pid)}

    def daemon_pids(self) -> set[int]:
        return self.processes(DAEMON)

    def ledger(self) -> Ledger:
        """What there is once nobody speaks with the daemon any more: it lets go of who has left
        a moment later.
        """
        self.until(lambda: idle(self.paths))
        return take(self.paths)

    def settled(self, before: Ledger) -> None:
        """Wait until everything is as it was; what stays different is told."""
        left: list[str] = []

        def same() -> bool:
            now = take(self.paths)
            left[:] = (now if before.of("fd") else now.without("fd")).since(before)
            return not left

        self.until(same, lambda: "\n".join(left))

    def leftovers(self) -> list[str]:
        """Whatever is there and belongs to nothing that the records know, or is in doubt."""
        vms = dict(self.rows("SELECT id, state FROM vms"))
        names = {name for (name,) in self.rows("SELECT name FROM vms WHERE state = 'running'")}
        images = {image for (image,) in self.rows("SELECT id FROM images")}
        snapshots = {each for (each,) in self.rows("SELECT id FROM snapshots")}
        running = {vm for vm, state in vms.items() if state in ("running", "paused")}
        owners = {
            *(f"image-{image}" for image in images),
            *(f"snapshot-{each}" for each in snapshots),
        }
        return [
            *(f"process {command(pid)!r}" for pid in self._strangers(running)),
            *_besides(self.state / "vms", vms.keys()),
            *_besides(self.runtime / "vms", running),
            *_besides(self.state / "images", images),
            *_besides(self.state / "incoming", set()),
            *_besides(self.state / "snapshots", snapshots),
            *_besides(
                self.state / "ssh" / "vms",
                {f"{name}.{end}" for name in names for end in ("json", "conf")},
            ),
            *(f"pin {line}" for line in self._pins() if line.rpartition(":")[2] not in running),
            *self._doubts(set(vms), running, owners),
            *(str(path) for path in self.home.rglob("*.partial*")),
        ]

    def _strangers(self, running: set[str]) -> Iterator[int]:
        for pid in self.processes():
            words = command(pid)
            if DAEMON not in words and not any(vm.encode() in words for vm in running):
                yield pid

    def _pins(self) -> list[str]:
        known = self.state / "ssh" / "known_hosts"
        return known.read_text().splitlines() if known.exists() else []

    def _doubts(self, vms: set[str], running: set[str], others: set[str]) -> Iterator[str]:
        for owner, kind, subject, done in self.rows(
            "SELECT vm_id, kind, subject, done_at FROM intents"
        ):
            if done is None:
                yield f"open intent {kind} {subject} of {owner}"
            elif kind in SWAP_KINDS:
                yield f"intent {kind} {subject} of {owner}: a machine is on its way back"
            elif owner not in vms | others or (kind in RUN_KINDS and owner not in running):
                yield f"intent {kind} {subject} of {owner}"

    def close(self) -> None:
        """End everything that carries our directory, and reap what we started."""
        # A command that lives may start a daemon while we look: until nothing is left
        while found := self.processes():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for daemon in self.daemons:
                daemon.poll()
        for daemon in self.daemons:
            daemon.wait()
        shutil.rmtree(self.home)


def command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
    return b""


def _besides(directory: Path, known: Any) -> list[str]:
    found = sorted(directory.iterdir()) if directory.is_dir() else []
    return [str(path) for path in found if path.name not in known]


@pytest.fixture
def house() -> Iterator[House]:
    # Short, because Unix sockets lie below
    home = Path(tempfile.mkdtemp(prefix="bc-"))
    for name in ("home", "config", "site", "bin"):
        (home / name).mkdir(mode=0o700)
    (home / "config" / "config.toml").write_text(CONFIG)
    install_plugin(home / "site", "fakes", module="banger_core.testing.fakes")
    env = {key: value for key, value in os.environ.items() if not key.startswith("BANGER_")}
    env.update(
        HOME=str(home / "home"),
        BANGER_STATE_DIR=str(home / "state"),
        BANGER_CONFIG_DIR=str(home / "config"),
        BANGER_CACHE_DIR=str(home / "cache"),
        BANGER_RUNTIME_DIR=str(home / "run"),
        BANGER_PLUGINS="fakes,ssh",
        PYTHONPATH=str(home / "site"),
        NO_COLOR="1",
    )
    one = House(home, env)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def lasting_ssh(house: House) -> dict[str, str]:
    """An environment in which the session of ``vm run`` lasts until it is killed."""
    program = house.home / "bin" / "ssh"
    program.write_text(SSH)
    program.chmod(0o700)
    return {"PATH": f"{program.parent}:{house.env['PATH']}"}
