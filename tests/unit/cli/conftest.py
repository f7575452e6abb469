"""A private home, a daemon without machines, and an ssh that runs commands here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from banger_core.config.paths import Paths
from banger_core.testing.fake_daemon import FakeDaemon

FAKE_SSH = r"""
import json, os, shlex, signal, subprocess, sys, time

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
args, place = sys.argv[1:], os.environ["FAKE_SSH"]
log = args[args.index("-E") + 1] if "-E" in args else os.devnull
remote = args[args.index("host") + 1:]
ignored = [s.name for s in ASKING if signal.getsignal(s) is signal.SIG_IGN]
with open(f"{place}/calls", "a") as file:
    file.write(json.dumps({"args": args, "remote": remote, "ignored": ignored}) + "\n")

def leave(status, words):
    with open(log, "a") as file:
        file.write(words + "\n")
    sys.exit(status)

if os.path.exists(f"{place}/refuse"):
    leave(255, "debug1: trying\nssh: connect to host host port 1: Connection refused\ndebug1: bye")
words = shlex.split(" ".join(remote))
if words[:1] == ["banger-signal"]:
    try:
        pid = int(open(f"{place}/{words[1]}.pid").read())
    except FileNotFoundError:
        sys.exit(1)
    os.killpg(pid, getattr(signal, "SIG" + words[2]))
    sys.exit(0)
user, words = (words[1], words[2:]) if words[:1] == ["banger-as"] else ("", words)
PROGRAMS = {"banger-exec": [], "banger-image": ["sh", "-c", "echo own as $0: $*; exit 7", user]}
known = bool(words) and words[0] in PROGRAMS
program = [*PROGRAMS[words[0]], *words[2:]] if known else (words or ["sh"])

def fresh():
    os.setpgid(0, 0)
    for each in ASKING:
        signal.signal(each, signal.SIG_DFL)

while os.path.exists(f"{place}/slow"):
    time.sleep(0.01)
    with open(f"{place}/calls") as file:
        if file.read().count('"banger-signal ') > 1:
            break
child = subprocess.Popen(program, preexec_fn=fresh)
if known:
    open(f"{place}/new", "w").write(str(child.pid))
    os.rename(f"{place}/new", f"{place}/{words[1]}.pid")
status = child.wait()
status = 128 - status if status < 0 else status
leave(status, f"debug1: Exit status {status}")
"""


@dataclass
class Ssh:
    """What the fake ssh was asked, and how it behaves (files ``refuse``; ``slow``: a program begins
    once two signals were to be sent to it).
    """

    place: Path

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self.place / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def behave(self, how: str) -> None:
        (self.place / how).touch()

    def wait_for_program(self) -> None:
        """Return when a program has been started by ``banger-exec``."""
        wait_until(lambda: list(self.place.glob("*.pid")))


@dataclass
class Cli:
    """Runs the command line in processes of its own."""

    left: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __call__(
        self, *words: str, stdin: bytes = b"", **more: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "banger_core", *words],
            input=stdin,
            capture_output=True,
            env={**os.environ, **more},
            timeout=60,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start it, with a session of its own so that its signals are its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "banger_core", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.left.append(process)
        return process


def wait_until(true: Callable[[], Any], patience: float = 60) -> None:
    """Return when ``true`` is; fail when that takes longer than ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path_factory.mktemp("h")
    for name in ("state", "cache", "config", "runtime"):
        monkeypatch.setenv(f"BANGER_{name.upper()}_DIR", str(place / name))
        (place / name).mkdir(mode=0o700)
    for name in ("BANGER_DEBUG", "BANGER_PLUGINS", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(place))
    return place


@pytest.fixture
def daemon(home: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(Paths.from_environment().socket) as fake:
        yield fake


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    programs, place = tmp_path / "bin", tmp_path / "ssh"
    programs.mkdir()
    place.mkdir()
    program = programs / "ssh"
    program.write_text(f"#!{sys.executable} -IS\n{FAKE_SSH}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SSH", str(place))
    return Ssh(place)


@pytest.fixture
def cli(home: Path) -> Iterator[Cli]:
    runner = Cli()
    yield runner
    for process in runner.left:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def here(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process: much quicker, for all that starts no session."""
    from banger_core.__main__ import main

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["banger", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert isinstance(end.value.code, int)
        return int(end.value.code), out, err

    return run


@pytest.fixture
def machine() -> dict[str, Any]:
    """What the daemon says about one VM."""
    return {
        "id": "0123456789ab",
        "name": "web",
        "state": "running",
        "image": "debian://bookworm",
        "image_digest": "sha256:" + "0" * 64,
        "kernel": "debian-6.1 6.1.0-56",
        "vcpu": 1,
        "memory": 256 << 20,
        "disk_size": 2 << 30,
        "network": "user",
        "driver": "qemu",
        "accel": "tcg",
        "address": "127.64.0.2",
        "ssh_port": 1022,
        "created_at": time.time() - 200,
        "started_at": time.time() - 100,
        "ephemeral": False,
        "labels": {"team": "web"},
        "problem": "",
        "pid": 4711,
    }


@pytest.fixture
def note() -> dict[str, Any]:
    """How to reach that VM."""
    return {
        "name": "web",
        "vm_id": "0123456789ab",
        "host": "127.64.0.2",
        "port": 1022,
        "user": "root",
        "argv": ["ssh", "-F", "none", "host"],
        "shell": [],
        "stamps": {},
        "origins": {},
    }


@pytest.fixture
def noted(home: Path, note: dict[str, Any]) -> Path:
    """The note of that VM, in its place."""
    path = Paths.from_environment().note("web")
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text(json.dumps(note))
    path.chmod(0o600)
    return path
