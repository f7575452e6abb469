"""Many writers of one file: nothing is lost, nothing is left, nothing foreign is followed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from banger_core.api import HostNotReady
from banger_ssh.known_hosts import find, forget, pin
from banger_ssh.pinfile import PinFile

KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDsuUyfy0gs3iMfKEMTYjC9xYFAbmTyWlOGR6lSLCHRZ"
WRITERS = 50

WRITER = """
import sys
from pathlib import Path
from banger_ssh.known_hosts import forget, pin
from banger_ssh.pinfile import PinFile
pins, number, key = PinFile(Path(sys.argv[1])), sys.argv[2], sys.argv[3].encode()
sys.stdin.read()
for turn in range(3):
    names = [f"vm{number}-{turn}.vm".encode()]
    pins.update(lambda data: pin(data, names, key, b"banger:" + number.encode()))
pins.update(lambda data: forget(data, [f"vm{number}-0.vm".encode()]))
"""

STUCK = """
import sys, time
from pathlib import Path
from banger_ssh.pinfile import PinFile
def slow(data):
    print("in", flush=True)
    time.sleep(60)
PinFile(Path(sys.argv[1])).update(slow)
"""


@pytest.fixture
def place(tmp_path):
    directory = tmp_path / "ssh"
    directory.mkdir(mode=0o700)
    return directory


def test_fifty_processes_lose_nothing(place):
    (place / "known_hosts").write_bytes(b"# mine\nforeign " + KEY)
    gate_read, gate_write = os.pipe()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place), str(number), KEY.decode()],
            stdin=gate_read,
        )
        for number in range(WRITERS)
    ]
    os.close(gate_read)
    # All of them begin when the pipe ends
    os.close(gate_write)
    assert [writer.wait(250) for writer in writers] == [0] * WRITERS
    data = (place / "known_hosts").read_bytes()
    assert data.startswith(b"# mine\nforeign " + KEY + b"\n")
    for number in range(WRITERS):
        counts = [len(find(data, f"vm{number}-{turn}.vm".encode())) for turn in range(3)]
        assert counts == [0, 1, 1]
    assert sorted(path.name for path in place.iterdir()) == ["known_hosts", "known_hosts.lock"]


def test_files_are_private_from_birth(place):
    before = os.umask(0)
    try:
        PinFile(place).update(lambda data: data + b"x\n")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
    assert modes == {"known_hosts": 0o600, "known_hosts.lock": 0o600}


def test_no_change_is_no_write(place):
    pins = PinFile(place)
    pins.update(lambda data: data)
    assert not pins.path.exists()
    pins.update(lambda data: data + b"x\n")
    before = pins.path.stat()
    pins.update(lambda data: data)
    assert pins.path.stat().st_ino == before.st_ino


def test_a_failing_change_changes_nothing(place):
    pins = PinFile(place)
    pins.update(lambda data: pin(data, [b"a.vm"], KEY, b"c"))
    before = pins.path.read_bytes()
    with pytest.raises(ValueError, match="names"):
        pins.update(lambda data: pin(data, [b"*"], KEY, b"c"))
    assert pins.path.read_bytes() == before
    pins.update(lambda data: forget(data, [b"a.vm"]))
    assert pins.path.read_bytes() == b""


def test_a_killed_writer_leaves_the_old_file_and_no_lock(place):
    pins = PinFile(place)
    pins.update(lambda data: data + b"old\n")
    stuck = subprocess.Popen([sys.executable, "-c", STUCK, str(place)], stdout=subprocess.PIPE)
    assert stuck.stdout.readline() == b"in\n"
    (place / ".known_hosts.abcdef.partial").write_bytes(b"half")
    stuck.send_signal(signal.SIGKILL)
    stuck.wait()
    stuck.stdout.close()
    pins.update(lambda data: data + b"new\n")
    assert pins.path.read_bytes() == b"old\nnew\n"
    assert sorted(path.name for path in place.iterdir()) == ["known_hosts", "known_hosts.lock"]


@pytest.mark.parametrize("name", ["known_hosts", "known_hosts.lock"])
def test_symbolic_links_are_refused(place, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (place / name).symlink_to(victim)
    with pytest.raises(HostNotReady) as problem:
        PinFile(place).update(lambda data: data + b"x\n")
    assert "symbolic" in problem.value.cause
    assert victim.read_bytes() == b"precious"
    assert (place / name).is_symlink()


def test_what_is_no_file_is_refused(place):
    os.mkfifo(place / "known_hosts")
    with pytest.raises(HostNotReady, match="cannot be used"):
        PinFile(place).read()
