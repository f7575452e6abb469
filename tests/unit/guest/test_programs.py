"""The small programs of the guest, for each processor, as the kernel sees them."""

from __future__ import annotations

import errno
import os
import platform
import re
import subprocess

import pytest

from banger_core.errors import IntegrityError
from banger_core.guest.elf import AARCH64, NAMES, X86_64
from banger_core.guest.programs import small_program

EMULATORS = {X86_64: "qemu-x86_64", AARCH64: "qemu-aarch64"}

CALLS = "socket,bind,listen,accept4,close,dup2,dup3,execve"

COMPARES = {
    X86_64: (b"\x83\x7d\x08\x02", b"\x39\xc0\x90\x90"),
    AARCH64: (b"\xff\x0a\x00\x71", b"\xff\x03\x1f\x6b"),
}
"""The instruction that looks whether the peer is the host (CID 2), and one that takes everybody for
it: connections that strace makes up come from nowhere."""


@pytest.fixture(params=NAMES, ids=NAMES.get)
def machine(request):
    return request.param


@pytest.fixture
def make(machine, tmp_path):
    """Write a program and return the command line that runs it here."""

    def write(name, change=lambda program: program):
        path = tmp_path / name
        path.write_bytes(change(small_program(name, machine)))
        path.chmod(0o755)
        native = platform.machine() == NAMES[machine]
        return [str(path)] if native else [EMULATORS[machine], str(path)]

    return write


def vsock_calls(argv, log):
    """What it does while three connections come, before the kernel fails; strace is the kernel."""
    answers = ["bind,listen:retval=0", "dup2,dup3:retval=0"]
    # The fourth has the real answer: what does not really listen accepts nothing
    answers += ["accept4:retval=99:when=1..3"]
    words = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={CALLS}", "-e", "signal=none"]
    words += [word for answer in answers for word in ("-e", f"inject={answer}")]
    # The emulator's own files are not of interest
    done = subprocess.run(
        [*words, *argv, "/bin/echo", "two words"],
        capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    calls = re.findall(r"^\d+ +(\w+\([^)<]*)", log.read_text(), re.MULTILINE)
    return done, calls


def test_vsock_serves_one_connection_after_the_other(make, machine, tmp_path):
    old, new = COMPARES[machine]

    def from_anywhere(program):
        assert program.count(old) == 2
        return program.replace(old, new)

    done, calls = vsock_calls(make("vsock", from_anywhere), tmp_path / "log")
    assert done.returncode == errno.EINVAL
    assert done.stdout == b"two words\n" * 3
    text = "\n".join(calls)
    assert "socket(AF_VSOCK, SOCK_STREAM|SOCK_CLOEXEC, 0" in text
    assert "svm_cid=VMADDR_CID_ANY, svm_port=0x3fe" in text
    assert re.search(r"listen\(\d+, 1", text)
    assert len(re.findall(r"dup[23]\(99, 0", text)) == len(re.findall(r"dup[23]\(99, 1", text)) == 3
    # Each is let go of by the listener
    assert text.count("close(99") == 3


def test_vsock_turns_others_than_the_host_away(make, tmp_path):
    done, calls = vsock_calls(make("vsock"), tmp_path / "log")
    assert (done.returncode, done.stdout) == (errno.EINVAL, b"")
    assert calls.count("close(99") == 3


def test_grow_says_what_went_wrong(make, tmp_path):
    disk, argv = tmp_path / "disk", make("grow")
    disk.write_bytes(b"")
    for words, problem in (
        ((tmp_path / "none", tmp_path), errno.ENOENT),
        ((disk, tmp_path), errno.ENOTTY),
    ):
        done = subprocess.run([*argv, *words], check=False, env=dict(os.environ))
        assert done.returncode == problem


def test_other_processors_are_refused():
    with pytest.raises(IntegrityError):
        small_program("grow", 8)
