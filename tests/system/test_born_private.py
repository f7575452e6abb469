"""Files and sockets are private from birth, by what the daemon asks the kernel for (strace(1))."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from banger_core.testing import leaks
from banger_core.testing.fakes import CONFIG
from banger_core.testing.install import install_plugin

CALLS = "open,openat,creat,mkdir,mkdirat,mknod,mknodat,bind,umask,chmod,fchmod,fchmodat,clone,fork"
CALL = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
MODE = re.compile(r"(?:, |^)0([0-7]*)$")
TIMEOUT = 120


def calls(trace: Path) -> list[re.Match[str]]:
    """The calls of a trace, whole: strace splits those that others interrupt."""
    begun: dict[str, str] = {}
    found = []
    for text in trace.read_text("utf-8", "replace").splitlines():
        line = text
        if line.endswith("<unfinished ...>"):
            begun[line.split()[0]] = line.removesuffix("<unfinished ...>")
            continue
        if resumed := RESUMED.match(line):
            line = begun.pop(resumed[1], "") + resumed[2]
        if call := CALL.match(line):
            found.append(call)
    return found


def mode_of(call: re.Match[str]) -> int:
    mode = MODE.search(call["arguments"].rstrip())
    assert mode, call[0]
    return int(mode[1] or "0", 8)


@pytest.fixture
def traced(tmp_path_factory):
    """What a daemon did, and its VMMs, while a VM was run, listed and deleted."""
    home = tmp_path_factory.mktemp("t")
    for name in ("site", "config", "home"):
        (home / name).mkdir(mode=0o700)
    install_plugin(home / "site", "fakes", module="banger_core.testing.fakes")
    (home / "config" / "config.toml").write_text(CONFIG)
    (home / "config" / "config.toml").chmod(0o600)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BANGER_", "XDG_"))}
    places = {"STATE": "state", "CACHE": "cache", "CONFIG": "config", "RUNTIME": "run"}
    env = {
        **kept,
        **{f"BANGER_{name}_DIR": str(home / place) for name, place in places.items()},
        "HOME": str(home / "home"),
        "PYTHONPATH": str(home / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "BANGER_PLUGINS": "fakes",
    }
    command = [sys.executable, "-m", "banger_core"]
    trace = home / "trace"
    which = f"trace=?{CALLS.replace(',', ',?')}"
    strace = ("strace", "-f", "-y", "-qq", "-s", "300", "-e", which, "-o", str(trace))
    daemon = subprocess.Popen(
        [*strace, *command[:2], "banger_core.daemon"],
        env=env,
        umask=0,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + TIMEOUT
        while not (home / "run" / "bangerd.sock").exists():
            assert time.monotonic() < deadline
            assert daemon.poll() is None
            time.sleep(0.02)
        for words in (("vm", "run", "-d", "--name", "web"), ("vm", "delete", "--force", "web")):
            subprocess.run([*command, *words], env=env, check=True, timeout=TIMEOUT, umask=0)
        subprocess.run([*command, "daemon", "stop"], env=env, check=True, timeout=TIMEOUT)
        assert daemon.wait(TIMEOUT) == 0
        yield home, calls(trace)
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()
        leaks.end(leaks.processes_using(home))


def test_nothing_is_born_open_and_no_socket_is_closed_afterwards(traced):
    home, made = traced
    umasks = {call["arguments"] for call in made if call["name"] == "umask"}
    assert umasks <= {"077", "0177"}, "a looser umask, if only for a moment"
    first = next(n for n, call in enumerate(made) if call["name"] == "umask")
    ours = [(n, call) for n, call in enumerate(made) if f"{home}/" in call["arguments"]]
    opened = [(n, call) for n, call in ours if "O_CREAT" in call["arguments"]]
    bound = [(n, call) for n, call in ours if call["name"] == "bind"]
    changed = [call for _, call in ours if "chmod" in call["name"]]
    assert len(opened) > 10
    assert len(bound) >= 2
    assert all(n > first for n, _ in [*opened, *bound]), "before the daemon has set its umask"
    assert changed
    assert not [call[0] for call in changed if ".sock" in call["arguments"]]
    assert not [call[0] for call in changed if mode_of(call) & 0o077]
