"""Sessions in a real machine: they go on without anybody, and can be come back to."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(400), pytest.mark.xdist_group("sessions")]

TALK = r"""
trap 'echo bye; exit 9' TERM
echo "ready $(id -u)"
while read -r line || sleep 1; do echo "got <$line>"; done
"""


@pytest.fixture(scope="module")
def web(banger):
    banger.ok("vm", "run", "-d", "--name", "web")
    return banger


def session(banger, verb, *words, **more):
    return banger.ok("vm", "session", verb, "web", *words, **more)


def states(banger):
    rows = banger.json("vm", "session", "list", "web")
    return {row["name"]: (row["state"], row["status"]) for row in rows}


def read_until(file, wanted):
    """What comes out of ``file`` up to ``wanted``; the test's own time limit ends it."""
    text = b""
    while wanted not in text:
        piece = os.read(file, 4096)
        assert piece, text
        text += piece
    return text


def test_a_session_outlives_the_daemon_and_ends_when_told(web):
    assert states(web) == {}
    session(web, "start", "talk", "--", "sh", "-c", TALK)
    assert states(web) == {"talk": ("running", None)}
    again = web.run("vm", "session", "start", "web", "talk", "--", "true")
    assert again.returncode == 1
    assert again.stderr.startswith(b"error: the session talk of web runs already\n")

    argv = ("vm", "session", "logs", "-f", "web", "talk")
    with web.popen(*argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as logs:
        read_until(logs.stdout.fileno(), b"ready 0\n")
        os.kill(web.daemon_pid(), signal.SIGKILL)
        session(web, "send", "talk", "one two")
        read_until(logs.stdout.fileno(), b"got <one two>\n")
        session(web, "send", "talk", stdin=b"three\n")
        read_until(logs.stdout.fileno(), b"got <three>\n")
        web.ok("vm", "list")
        assert states(web) == {"talk": ("running", None)}
        session(web, "stop", "talk")
        assert read_until(logs.stdout.fileno(), b"bye\n")
        assert logs.wait() == 0
    assert states(web) == {"talk": ("ended", 9)}
    assert session(web, "logs", "talk", "--tail", "4") == "bye\n"
    session(web, "delete", "talk")
    assert states(web) == {}


def test_a_terminal_can_be_left_and_come_back_to(web):
    session(web, "start", "shell", "-t", "--", "sh")
    for number in (1, 2):
        ours, theirs = pty.openpty()
        attached = web.popen(
            "vm", "session", "attach", "web", "shell", stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        read_until(ours, b"# ")
        os.write(ours, f"x=${{x}}{number}; stty size; echo [$x]\n".encode())
        read_until(ours, b"[1]" if number == 1 else b"[12]")
        os.write(ours, b"\x1c")
        read_until(ours, b"[detached]")
        assert attached.wait() == 0
        os.close(ours)
        assert states(web) == {"shell": ("running", None)}
    attached = web.popen(
        "vm", "session", "attach", "web", "shell", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    attached.stdin.write(b"exit 6\n")
    attached.stdin.flush()
    assert attached.wait() == 6
    attached.communicate()
    assert states(web) == {"shell": ("ended", 6)}


def test_what_will_not_end_is_killed(web):
    session(
        web, "start", "deaf", "-u", "1000", "--", "sh", "-c", "trap '' TERM; sleep 999 & wait; wait"
    )
    began = time.time()
    done = web.run("vm", "session", "stop", "web", "deaf", "--grace", "1")
    assert b"was killed" in done.stderr
    assert states(web)["deaf"] == ("ended", 137)
    assert not web.run("vm", "exec", "web", "--", "pgrep", "-f", "sleep 999").stdout, began


def test_only_the_end_of_a_long_log_is_kept(web):
    session(web, "start", "long", "--", "sh", "-c", "seq 400000; echo the end")
    done = web.run("vm", "session", "logs", "-f", "web", "long")
    assert done.stdout.endswith(b"\nthe end\n")
    kept = session(web, "logs", "long")
    assert (256 << 10) < len(kept) <= (1 << 20)
    lines = kept.splitlines()[1:-1]
    assert lines == [str(number) for number in range(int(lines[0]), 400001)]


def test_what_cannot_run_is_said_at_once_and_leaves_nothing(web):
    done = web.run("vm", "session", "start", "web", "none", "--", "nowhere")
    assert done.returncode == 1
    assert b"nowhere: command not found" in done.stderr
    done = web.run("vm", "session", "logs", "web", "shel")
    assert done.returncode == 2
    assert b"did you mean shell?" in done.stderr
    assert "none" not in states(web)


def test_sessions_end_with_the_machine(web):
    session(web, "start", "last", "--", "sleep", "9999")
    web.ok("vm", "stop", "web")
    done = web.run("vm", "session", "list", "web")
    assert done.returncode
    assert b"web is" in done.stderr
