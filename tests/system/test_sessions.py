"""Sessions in a real machine: they go on without anybody, and can be come back to."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from terminals import Person, read_until

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


def person(banger, name, rows):
    """Somebody at a terminal, attached to a session."""
    return Person(banger.argv("vm", "session", "attach", "web", name), rows, banger.env)


def test_a_terminal_can_be_left_and_come_back_to(web):
    session(web, "start", "shell", "-t", "--", "sh")
    one = person(web, "shell", 31)
    one.see(b"# ")
    one.type(b"x=${x}1; stty size; tty; echo [$x]\n")
    seen = one.see(b"[1]")
    assert b"31 90\r\n/dev/pts/" in seen
    one.resize(32)
    while b"32 90" not in seen:
        one.type(b"stty size; echo at $((1+1))\n")
        seen = one.see(b"at 2")
    one.type(b"\x1c")
    one.see(b"[detached]")
    assert one.end() == 0

    two, three = person(web, "shell", 33), person(web, "shell", 33)
    two.see(b"at 2")
    two.type(b"x=${x}2; echo [$x]\n")
    two.see(b"[12]")
    three.see(b"[12]")
    os.kill(ssh_of(two.process.pid), signal.SIGKILL)
    assert two.end() == 128 + signal.SIGKILL
    three.type(b"sh -c 'echo c$((1+1)); exec sleep 999'\n")
    three.see(b"c2\r\n")
    three.type(b"\x03")
    three.see(b"# ")
    three.type(b"exit 6\n")
    three.see(b"[shell has ended, status 6]")
    assert three.end() == 6
    assert states(web)["shell"] == ("ended", 6)


def ssh_of(pid):
    """The ssh that the command line ``pid`` started, by way of others perhaps."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if Path(f"/proc/{pid}/comm").read_text() == "ssh\n":
        return pid
    return next((found for each in below if (found := ssh_of(int(each)))), None)


def test_without_a_terminal_bytes_go_both_ways(web):
    session(web, "start", "cat", "-u", "daemon", "--", "sh", "-c", "id -un; cat; exit 6")
    pipe = subprocess.PIPE
    attached = web.popen("vm", "session", "attach", "web", "cat", stdin=pipe, stdout=pipe)
    read_until(attached.stdout.fileno(), b"daemon\n")
    attached.stdin.write(b"\x00\xff\x1b[31m\n")
    attached.stdin.flush()
    read_until(attached.stdout.fileno(), b"\x00\xff\x1b[31m\n")
    somebody = person(web, "cat", 24)
    somebody.see(b"\x1b[31m\r\n")
    somebody.type(b"from there\n")
    read_until(attached.stdout.fileno(), b"from there\n")
    somebody.see(b"from there\r\nfrom there\r\n")
    somebody.type(b"\x03")
    somebody.see(b"[detached]\r\n")
    assert somebody.end() == 0
    session(web, "send", "cat", "-n", "no end", "--eof")
    assert attached.wait() == 6
    assert attached.communicate()[0] == b"no end"


def test_what_will_not_end_is_killed(web):
    script = "trap '' TERM; echo up; sleep 999 & wait; wait"
    session(web, "start", "deaf", "-u", "1000", "--", "sh", "-c", script)
    logs = web.popen("vm", "session", "logs", "-f", "web", "deaf", stdout=subprocess.PIPE)
    read_until(logs.stdout.fileno(), b"up\n")
    done = web.run("vm", "session", "stop", "web", "deaf", "--grace", "1")
    assert b"was killed" in done.stderr
    assert states(web)["deaf"] == ("ended", 137)
    assert logs.wait() == 0
    logs.stdout.close()
    assert not web.run("vm", "exec", "web", "--", "pgrep", "-u", "1000", "sleep").stdout


def test_only_the_end_of_a_long_log_is_kept(web):
    session(web, "start", "long", "--", "sh", "-c", "seq 400000; echo the end")
    done = web.run("vm", "session", "logs", "-f", "web", "long")
    assert done.stdout.endswith(b"\nthe end\n")
    kept = session(web, "logs", "long")
    assert (128 << 10) < len(kept) <= (256 << 10)
    lines = kept.splitlines()[1:-1]
    assert lines == [str(number) for number in range(int(lines[0]), 400001)]


def test_what_cannot_run_is_said_at_once_and_leaves_nothing(web):
    done = web.run("vm", "session", "start", "web", "none", "--", "nowhere")
    assert done.returncode == 1
    assert b"nowhere: command not found" in done.stderr
    done = web.run("vm", "session", "logs", "web", "shel")
    assert done.returncode == 2
    assert b"did you mean shell?" in done.stderr
    assert web.run("vm", "session", "start", "web", "../x", "--", "true").returncode == 2
    assert not {"none", "../x"} & set(states(web))


def test_sessions_end_with_the_machine(web):
    session(web, "start", "last", "--", "sleep", "9999")
    (row,) = [row for row in web.json("vm", "session", "list", "web") if row["name"] == "last"]
    assert web.ok("vm", "exec", "web", "--", "cat", f"/proc/{row['pid']}/comm") == "sleep\n"
    web.ok("vm", "stop", "web")
    assert states(web)["last"] == ("ended", None)
    web.ok("vm", "start", "web")
    assert b"gone with its machine" in web.run("vm", "session", "list", "web").stdout
    done = web.run("vm", "session", "logs", "web", "last")
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: the session last of web is gone\n")
    session(web, "delete", "last")
    session(web, "start", "last", "--", "true")
    assert "last" in states(web)
