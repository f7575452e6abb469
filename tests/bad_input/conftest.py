"""A banger of fakes, with a daemon of its own, that is asked for what cannot be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from banger_core.testing import leaks
from banger_core.testing.fakes import CONFIG
from banger_core.testing.install import install_plugin

TIMEOUT = 60


@dataclass(frozen=True)
class Failure:
    """What a command that failed said at the end."""

    error: str
    cause: str
    hints: tuple[str, ...]


@dataclass(frozen=True)
class House:
    """One banger: its directories, its environment, and what its commands are run by."""

    home: Path
    env: dict[str, str]
    prefix: tuple[str, ...] = ()
    python: tuple[str, ...] = field(default=(sys.executable, "-m", "banger_core"))

    @property
    def state(self) -> Path:
        return Path(self.env["BANGER_STATE_DIR"])

    @property
    def config_file(self) -> Path:
        return self.home / "config" / "config.toml"

    def with_env(self, **changes: object) -> House:
        """The same house as somebody with another environment sees it."""
        return replace(self, env={**self.env, **{key: str(changes[key]) for key in changes}})

    def configure(self, text: str) -> None:
        self.config_file.write_text(text)
        self.config_file.chmod(0o600)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, *self.python, *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "--json"))

    def fails(self, *words: str, code: int) -> Failure:
        """Run a command that must fail with ``code``, all three lines, and nothing left behind."""
        before = self.traces()
        done = self.run(*words)
        said = done.stderr
        assert done.returncode == code, f"{words}: {done.returncode}, not {code}\n{said}"
        assert done.stdout == ""
        assert "Traceback" not in said
        failure = _lines(said)
        assert self.traces() - before == set()
        assert not (self.state / "crash.log").exists()
        return failure

    def fails_as_json(self, *words: str, code: int) -> Failure:
        """``fails`` with ``--json``: the same as one JSON document on the last line."""
        done = self.run(*words, "--json")
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        data = json.loads(done.stderr.splitlines()[-1])
        assert data["exit_code"] == code
        return Failure(data["error"], data["cause"], tuple(data["try"]))

    def refuses(self, *words: str, code: int = 2) -> Failure:
        """``fails``, and says the same with ``--json``."""
        failure = self.fails(*words, code=code)
        assert self.fails_as_json(*words, code=code) == failure
        return failure

    def traces(self) -> set[str]:
        """Everything of VMs, and everything that is half made."""
        places = [
            *(self.state / "vms", self.state / "ssh" / "vms", self.state / "incoming"),
            *(self.state / "images", Path(self.env["BANGER_RUNTIME_DIR"]) / "vms"),
        ]
        return {str(path) for place in places if place.is_dir() for path in place.iterdir()}

    def log(self) -> str:
        log = self.state / "daemon.log"
        return log.read_text() if log.exists() else ""

    def close(self) -> None:
        """End the daemon and all machines. Fails when one of them does not go."""
        for vm in self.json("vm", "list"):
            self.ok("vm", "delete", "--force", vm["name"])
        self.ok("daemon", "stop")


def _lines(said: str) -> Failure:
    lines = said.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    causes = [line for line in lines if line.startswith("cause: ")]
    hints = [line.removeprefix("try:").strip() for line in lines if line.startswith("try:   ")]
    assert len(errors) == 1, said
    assert len(causes) == 1, said
    assert hints, said
    return Failure(errors[0][7:], causes[0][7:], tuple(hints))


def _make(home: Path) -> House:
    for name in ("site", "home", "config"):
        (home / name).mkdir(mode=0o700)
    install_plugin(home / "site", "fakes", module="banger_core.testing.fakes")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BANGER_", "XDG_", "SSH_"))}
    places = {"STATE": "state", "CACHE": "cache", "CONFIG": "config", "RUNTIME": "run"}
    house = House(
        home,
        {
            **kept,
            **{f"BANGER_{name}_DIR": str(home / place) for name, place in places.items()},
            "HOME": str(home / "home"),
            "PYTHONPATH": str(home / "site"),
            "BANGER_PLUGINS": "fakes",
            "NO_COLOR": "1",
        },
    )
    house.configure(CONFIG)
    return house


def _houses() -> Iterator[House]:
    # Short, because Unix sockets lie below
    home = Path(tempfile.mkdtemp(prefix="bi-", dir="/tmp"))
    try:
        yield _make(home)
        assert not (left := leaks.end(leaks.processes_using(home))), f"left behind: {left}"
    finally:
        leaks.end(leaks.processes_using(home))
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def house() -> Iterator[House]:
    """A banger that has never been used; a test closes what it opens."""
    yield from _houses()


@pytest.fixture(scope="module")
def lived_in() -> Iterator[House]:
    """A banger with the image ``small`` and the running VM ``web``, which tests leave as it is."""
    for house in _houses():
        house.ok("vm", "run", "--detach", "--name", "web")
        yield house
        assert [vm["name"] for vm in house.json("vm", "list")] == ["web"]
        assert "Traceback" not in house.log()
        house.close()


@pytest.fixture
def programs(tmp_path: Path) -> Callable[..., Path]:
    """A function from names to a PATH that has all programs of this host but those."""

    def without(*names: str) -> Path:
        place = tmp_path / "-".join(["without", *names])
        place.mkdir()
        for directory in ("/usr/local/bin", "/usr/bin", "/bin"):
            for program in _programs(Path(directory)):
                if program.name not in names and not (place / program.name).is_symlink():
                    (place / program.name).symlink_to(program)
        return place

    return without


def _programs(directory: Path) -> Sequence[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else ()
