from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from banger_core.config.settings import Settings
from banger_core.model import SshSetting
from banger_core.testing.contracts.samples import sample_net, sample_record

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def paths(banger_paths):
    """Places of the test's own, made; their home is ``paths.state.parent / "home"``."""
    return banger_paths.ready()


@pytest.fixture
def settings():
    return Settings()


@pytest.fixture
def make_record():
    def make(name="web", port=22, **policy):
        record = sample_record(name)
        settings = {
            key: SshSetting(value=value, origin="test")
            for key, value in {"user": ME, **policy}.items()
        }
        net = sample_net(port=port, address="127.0.0.1")
        return replace(record, plan=replace(record.plan, net=net, ssh=settings))

    return make


@dataclass
class Server:
    """A real sshd on the loopback interface."""

    process: subprocess.Popen
    port: int
    host_key: str

    def stop(self) -> None:
        # The listener leads a group that its connections' processes stay in
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start_sshd(tmp_path):
    """Start sshd for a public key; ``again`` starts it anew on the same port, with a new key."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program, "install openssh-server"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    servers: list[Server] = []

    def start(authorized: str, port: int = 0) -> Server:
        place = tmp_path / f"sshd{len(servers)}"
        place.mkdir()
        (place / "authorized").write_text(f"{authorized}\n")
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / "host")]
        subprocess.run(keygen, check=True)
        port = port or _free_port()
        (place / "config").write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {place}/host\nPidFile none\n"
            f"AuthorizedKeysFile {place}/authorized\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            "Subsystem sftp internal-sftp\n"
        )
        log = (place / "log").open("wb")
        argv = [program, "-D", "-e", "-f", str(place / "config")]
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        key = " ".join((place / "host.pub").read_text().split()[:2])
        servers.append(server := Server(process, port, key))
        _await(lambda: _listens(port), f"sshd did not start: {(place / 'log').read_text()}")
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _await(true, complaint, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


@pytest.fixture
def ssh():
    """Run a command through a target; ``first`` are options that stand directly after ``ssh``."""

    def run_it(target, *command, first=(), **more):
        argv = [target.argv[0], *first, *target.argv[1:], *command]
        if "input" not in more:
            more["stdin"] = subprocess.DEVNULL
        return subprocess.run(argv, check=False, capture_output=True, timeout=90, **more)

    return run_it


@pytest.fixture
def eventually():
    return _await
