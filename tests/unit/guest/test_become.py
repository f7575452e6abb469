"""The program that changes the user, for each processor, as the kernel sees it.

strace answers for the kernel where that wants privileges, so that nobody really becomes another.
"""

from __future__ import annotations

import os
import platform
import pty
import re
import subprocess

import pytest

from banger_core.errors import IntegrityError
from banger_core.guest.become import become_program
from banger_core.guest.elf import AARCH64, X86_64, elf_machine

RUNNERS = {X86_64: ("x86_64", "qemu-x86_64"), AARCH64: ("aarch64", "qemu-aarch64")}
CHANGES = "setgroups,setresgid,setresuid"
WATCHED = f"{CHANGES},fchown"


@pytest.fixture(params=RUNNERS, ids=lambda machine: RUNNERS[machine][0])
def become(request, tmp_path):
    """The command line that runs the program here, under an emulator where it must."""
    path = tmp_path / "become"
    path.write_bytes(become_program(request.param))
    path.chmod(0o755)
    native, emulator = RUNNERS[request.param]
    return [str(path)] if platform.machine() == native else [emulator, str(path)]


def watch(become, tmp_path, *words, inject=f"{CHANGES},fchown:retval=0", **options):
    """Run it with a kernel that says yes; returns the result and the calls that it made."""
    log = tmp_path / "log"
    argv = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={WATCHED}"]
    argv += ["-e", "signal=none", "-e", f"inject={inject}", *become, *words]
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(argv, capture_output=True, check=False, **options)
    calls = re.findall(r"^\d+ +(\w+\(.*?\)) +=", log.read_text(), re.MULTILINE)
    return done, calls


def test_it_drops_everything_and_then_runs_the_program(become, tmp_path):
    words = ["1000", "1001", "1001", "5", "2147483647"]
    program = ["/bin/sh", "-c", 'printf "%s|" "$@"; exit 7', "sh", "a b", "", "--", "-x"]
    done, calls = watch(become, tmp_path, *words, "--", "A=1", "--", *program)
    assert (done.returncode, done.stdout) == (7, b"a b||--|-x|")
    assert calls == [
        # Not stdin, which is /dev/null
        "fchown(2, 1000, -1)",
        "fchown(1, 1000, -1)",
        "setgroups(3, [1001, 5, 2147483647])",
        "setresgid(1001, 1001, 1001)",
        "setresuid(1000, 1000, 1000)",
    ]


def test_the_environment_is_what_was_given_and_no_more(become, tmp_path):
    variables = ["A=1", "odd.name=x\ny", "EMPTY=", "--=", "LD_LIBRARY_PATH=/no/where"]
    done, _ = watch(become, tmp_path, "1", "1", "--", *variables, "--", "/usr/bin/env", "-0")
    assert done.stdout.decode().split("\0")[:-1] == variables
    done, _ = watch(become, tmp_path, "1", "1", "--", "--", "/usr/bin/env")
    assert (done.returncode, done.stdout) == (0, b"")


def test_no_groups_are_none(become, tmp_path):
    done, calls = watch(become, tmp_path, "0", "0", "--", "--", "/bin/true")
    assert done.returncode == 0
    assert calls[-3] in ("setgroups(0, [])", "setgroups(0, NULL)")


def test_a_terminal_is_given_and_a_file_is_not(become, tmp_path):
    controller, terminal = pty.openpty()
    try:
        done, calls = watch(become, tmp_path, "7", "7", "--", "--", "/bin/true", stdin=terminal)
    finally:
        os.close(controller)
        os.close(terminal)
    assert done.returncode == 0
    assert "fchown(0, 7, -1)" in calls
    with (tmp_path / "log").open("rb") as file:
        _, calls = watch(become, tmp_path, "7", "7", "--", "--", "/bin/true", stdin=file)
    assert [call for call in calls if "fchown(0" in call] == []


@pytest.mark.parametrize("call", CHANGES.split(","))
def test_when_the_kernel_says_no_nothing_is_run(become, tmp_path, call):
    others = [each for each in CHANGES.split(",") if each != call]
    inject = f"{','.join(others)},fchown:retval=0"
    more = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={call}:error=EPERM"]
    more += ["-e", f"inject={inject}", *become, "1", "1", "--", "--", "/bin/echo", "ran"]
    done = subprocess.run(more, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stdout) == (126, b"")
    assert done.stderr == b"banger: the system does not let this session become another user\n"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "1",
        "1 2",
        "1 2 --",
        "1 2 -- A=1",
        "1 2 -- --",
        "1 -- -- /bin/echo",
        "-- -- /bin/echo",
        "1 2147483648 -- -- /bin/echo",
        "99999999999999999999999 1 -- -- /bin/echo",
        "x 1 -- -- /bin/echo",
        "1 1x -- -- /bin/echo",
        "1 /bin/echo",
        "1 '' -- -- /bin/echo",
    ],
)
def test_anything_else_is_refused(become, tmp_path, words):
    given = [word.strip("'") for word in words.split(" ")] if words else []
    done, calls = watch(become, tmp_path, *given)
    assert (done.returncode, done.stdout, calls) == (126, b"", [])
    assert done.stderr == b"banger: not a user to become\n"


@pytest.mark.parametrize(
    ("make", "status", "problem"),
    [
        (lambda _: None, 127, b"is not there"),
        (lambda path: path.write_text("#!/no/where\n"), 127, b"is not there"),
        (lambda path: path.write_text("echo hi\n"), 126, b"begins with #!"),
        (lambda path: path.mkdir(), 126, b"permission denied"),
        (lambda path: path.symlink_to(path), 126, b"cannot be started"),
    ],
)
def test_programs_that_cannot_be_run_say_why(become, tmp_path, make, status, problem):
    program = tmp_path / "program"
    make(program)
    if program.is_file():
        program.chmod(0o755)
    done, _ = watch(become, tmp_path, "0", "0", "--", "--", str(program))
    assert done.returncode == status
    assert done.stderr.startswith(b"banger: ")
    assert problem in done.stderr
    assert done.stderr.endswith(b"\n")


def test_there_is_none_for_unknown_processors():
    with pytest.raises(IntegrityError, match="ELF type 8"):
        become_program(8)
    with pytest.raises(IntegrityError, match="no ELF"):
        elf_machine(b"#!/bin/sh and more than that")
