"""Sessions with the real OpenSSH: its debug log, its terminal and its signals are relied on.

The server is a real sshd of this user on the loopback address; a small script stands for
the guest runtime's ``banger-exec`` and ``banger-signal``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pexpect
import pytest

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")

pytestmark = pytest.mark.skipif(
    not SSHD or not shutil.which("ssh"), reason="needs openssh-server and openssh-client"
)

GUEST = r"""
import os, shlex, signal, subprocess, sys

words = shlex.split(os.environ.get("SSH_ORIGINAL_COMMAND", ""))
if words[:1] == ["banger-signal"]:
    with open(f"PLACE/{words[1]}.pid") as file:
        os.killpg(int(file.read()), getattr(signal, "SIG" + words[2]))
elif os.isatty(0):
    os.execvp(words[2], words[2:])
else:
    child = subprocess.Popen(words[2:], process_group=0)
    with open(f"PLACE/{words[1]}.new", "w") as file:
        file.write(str(child.pid))
    os.rename(f"PLACE/{words[1]}.new", f"PLACE/{words[1]}.pid")
    status = child.wait()
    sys.exit(128 - status if status < 0 else status)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    place = tmp_path_factory.mktemp("sshd")
    for key in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / key], check=True
        )
    guest = place / "guest"
    guest.write_text(f"#!{sys.executable} -IS\n" + GUEST.replace("PLACE", str(place)))
    guest.chmod(0o755)
    (place / "keys").write_text(f'command="{guest}" {(place / "user.pub").read_text()}')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = (
        f"Port={port}",
        "ListenAddress=127.0.0.1",
        f"HostKey={place}/host",
        f"AuthorizedKeysFile={place}/keys",
        "StrictModes=no",
        "UsePAM=no",
        "PidFile=none",
        "PermitRootLogin=yes",
    )
    if os.geteuid() == 0:
        # sshd's own; it stays, because servers of other tests may be using it
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    words = [word for option in options for word in ("-o", option)]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", os.devnull, *words], stderr=log)
    host_key = " ".join((place / "host.pub").read_text().split()[:2])
    (place / "known").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    wait_for(port)
    yield place, port
    process.terminate()
    process.wait()


def wait_for(port):
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def web(server, tmp_path, monkeypatch):
    """A note for ``web`` that leads to the server."""
    place, port = server
    argv = ["ssh", "-F", "none", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]
    argv += ["-o", f"UserKnownHostsFile={place}/known", "-o", "StrictHostKeyChecking=yes"]
    argv += ["-o", "ConnectTimeout=60", "-i", str(place / "user"), "-p", str(port)]
    argv.append(f"{subprocess.check_output(['id', '-un'], text=True).strip()}@127.0.0.1")
    monkeypatch.setenv("BANGER_STATE_DIR", str(tmp_path))
    note = tmp_path / "ssh" / "vms" / "web.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"argv": argv, "shell": [], "stamps": {}}))
    note.chmod(0o600)
    return note


BANGER = [sys.executable, "-m", "banger_core"]
EXEC = [*BANGER, "vm", "exec", "web", "--"]


def run(*words, stdin=b""):
    return subprocess.run(
        [*EXEC, *words], input=stdin, capture_output=True, timeout=90, check=False
    )


def test_bytes_and_status_are_the_guests(web):
    data = bytes(range(256)) * 8000
    done = run("sh", "-c", "cat; exit 42", stdin=data)
    assert (done.returncode, done.stdout, done.stderr) == (42, data, b"")
    done = run("printf", "[%s]", "a b", "it's", '"$x"', "", "\n")
    assert done.stdout == b'[a b][it\'s]["$x"][][\n]'


def test_255_of_the_guest_and_of_a_broken_connection(web):
    done = run("sh", "-c", "echo mine >&2; exit 255")
    assert (done.returncode, done.stderr) == (255, b"mine\n")
    # The parents of the program: setsid's shell script, its sshd session
    done = run("sh", "-c", "kill -9 $(ps -o ppid= -p $PPID); sleep 5")
    assert done.returncode == 255
    assert b"error: the connection to web was lost\n" in done.stderr


def test_a_shared_connection_tells_255_as_well(web, tmp_path):
    note = json.loads(web.read_text())
    shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={tmp_path}/c", "-o"]
    note["argv"][1:1] = [*shared, "ControlPersist=30"]
    web.write_text(json.dumps(note))
    try:
        for _ in range(2):
            done = run("sh", "-c", "exit 255")
            assert (done.returncode, done.stderr) == (255, b"")
    finally:
        subprocess.run(
            ["ssh", "-o", f"ControlPath={tmp_path}/c", "-O", "exit", "x"],
            capture_output=True,
            check=True,
        )


def fingerprint(public):
    said = subprocess.check_output(["ssh-keygen", "-l", "-f", str(public)], text=True)
    return said.split()[1]


def test_a_changed_host_key_says_which_was_expected_and_which_was_found(web, server, tmp_path):
    place, port = server
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    known = tmp_path / "known of others"
    key = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    known.write_text(f"# pins\n[127.0.0.1]:{port} {key} banger:0123\n")
    note = json.loads(web.read_text())
    note["argv"] = [
        f'UserKnownHostsFile="{known}"' if word.startswith("UserKnownHostsFile=") else word
        for word in note["argv"]
    ]
    web.write_text(json.dumps(note))
    done = run("true")
    assert done.returncode == 255
    expected = fingerprint(other.with_suffix(".pub"))
    found = fingerprint(place / "host.pub")
    assert done.stderr.decode().splitlines() == [
        "error: the host key of web has changed: possible man in the middle",
        f"cause: expected ssh-ed25519 {expected}, found ssh-ed25519 {found}",
        "try:   banger ssh known-hosts",
        "try:   banger ssh forget web   (when you know why it changed)",
    ]


def test_a_host_key_that_nobody_pinned_is_refused_and_shown(web, server):
    place, _ = server
    note = json.loads(web.read_text())
    note["argv"] = [word.replace("/known", "/missing") for word in note["argv"]]
    web.write_text(json.dumps(note))
    done = run("true")
    assert done.returncode == 255
    assert b"error: web shows a host key that nobody has pinned\n" in done.stderr
    assert fingerprint(place / "host.pub").encode() in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_travel(web, number):
    process = subprocess.Popen(
        [*EXEC, "sh", "-c", "echo ready; sleep 60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"ready\n"
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=90)
    assert (process.returncode, err) == (128 + number, b"")


@pytest.fixture
def terminal(web):
    """Starts a command line on a terminal."""
    started = []

    def start(*words):
        child = pexpect.spawn(words[0], list(words[1:]), timeout=90, dimensions=(33, 101))
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


def test_on_a_terminal_the_guest_has_one(terminal):
    child = terminal(*EXEC, "sh", "-c", "stty size; read x; echo got $x; exit 3")
    child.expect("33 101")
    child.sendline("hello")
    child.expect("got hello")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 3


def test_ctrl_c_on_a_terminal_is_a_key_of_the_guest(terminal):
    child = terminal(*EXEC, "bash", "-c", "trap 'echo caught; exit 5' INT; echo up; read x")
    child.expect("up")
    child.sendintr()
    child.expect("caught")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 5


def test_ctrl_c_with_output_in_a_pipe_is_forwarded(terminal, tmp_path):
    line = " ".join([*EXEC, "sh", "-c", "'echo up; exec sleep 60'"])
    child = terminal("bash", "--norc", "-c", f"set -o pipefail; {line} | cat; echo status $?")
    child.expect("up")
    child.sendintr()
    child.expect("status 130")


def test_ctrl_z_without_a_terminal_in_the_guest_stops_and_goes_on(terminal):
    child = terminal("bash", "--norc", "-i")
    child.setecho(False)
    child.sendline("PS1='$ '")
    # bash shows what is typed, whatever the terminal does
    line = " ".join([*EXEC, "sh", "-c", "'echo u''p; read x; echo go''t $x'"])
    child.sendline(f"{line} 2>/dev/null")
    child.expect("up")
    child.sendcontrol("z")
    child.expect("Stopped")
    child.sendline("fg")
    child.expect("vm exec web")
    child.sendline("back")
    child.expect("got back")


def test_a_killed_session_gives_the_terminal_back(terminal):
    """A second signal kills ssh, which had the terminal in raw mode."""
    child = terminal(
        "bash",
        "--norc",
        "-c",
        f"{' '.join(EXEC)} sh -c 'trap \"\" TERM INT; echo up; sleep 600'; stty -a",
    )
    child.expect("up")
    (pid,) = subprocess.check_output(["pgrep", "-P", str(child.pid)], text=True).split()
    # Two that come together are one, and two that come too far apart are none: until it has left
    with suppress(ProcessLookupError):
        while True:
            os.kill(int(pid), signal.SIGTERM)
            time.sleep(0.2)
    child.expect(" icanon")
    child.expect(" echo ")


def test_ssh_can_be_suspended_by_its_escape(terminal):
    child = terminal("bash", "--norc", "-i")
    child.sendline("PS1='$ '")
    child.sendline(" ".join([*EXEC, "sh", "-c", "'echo u''p; read x; read y; echo go''t $y'"]))
    child.expect("up")
    child.sendline("")
    child.send("~\x1a")
    child.expect("Stopped")
    child.sendline("fg")
    child.expect("vm exec web")
    child.sendline("back")
    child.expect("got back")
