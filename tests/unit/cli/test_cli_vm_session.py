"""``vm session``: what the machine is asked, and what is made of what it answers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import pytest
from terminals import read_all, terminal

FAKE = """\
import json, os, sys
place = os.environ["FAKE_SSH"]
request = sys.argv[-1]
with open(place + "/calls", "a") as file:
    file.write(json.dumps({"remote": request, "input": sys.stdin.read()}) + "\\n")
if " list" in request:
    sys.stdout.write(open(place + "/list").read())
elif " stop " in request:
    print("killed 137")
elif " logs " in request:
    sys.stdout.buffer.write(b"\\x1b[31mred\\xff\\r\\n")
elif " start bad " in request:
    sys.stderr.write("banger: nowhere: command not found\\n")
    sys.exit(127)
"""


def line(name="build", state="running", status="-", command="make 'a b'"):
    ended = "-" if status == "-" else "1700000009"
    words = base64.b64encode(command.encode()).decode()
    return f"session {name} {state} pipe 1700000000 {ended} {status} 77 - {words}\n"


@pytest.fixture
def guest(ssh, noted, tmp_path, daemon, machine):
    daemon.answers["GET /v1/vms/web"] = lambda _: machine
    (tmp_path / "bin" / "ssh").write_text(f"#!{sys.executable} -IS\n{FAKE}")
    (ssh.place / "list").write_text(line() + line("old", "ended", "3"))
    return ssh


def test_list_tells_all(guest, cli):
    rows = json.loads(cli("vm", "session", "list", "web", "--json").stdout)
    assert [(row["name"], row["state"], row["status"]) for row in rows] == [
        ("build", "running", None),
        ("old", "ended", 3),
    ]
    assert rows[0]["command"] == ["make", "a b"]
    assert (rows[0]["pid"], rows[0]["started_at"], rows[1]["ended_at"]) == (77, 1.7e9, 1.7e9 + 9)
    shown = cli("vm", "session", "list", "web").stdout.splitlines()
    assert shown[1].split()[:4] == ["build", "running", "-", "77"]
    assert shown[2].split()[:4] == ["old", "ended", "3", "-"]


@pytest.mark.parametrize(
    "said",
    [
        "nonsense\n",
        line().replace("build", "../x"),
        line(command="it's"),
        line() + "\x1b[31m\n",
        line() * 65,
        "x" * (2 << 20),
    ],
    ids=["nonsense", "name", "quotes", "escape", "many", "long"],
)
def test_a_guest_that_says_anything_else_is_not_believed(guest, cli, said):
    (guest.place / "list").write_text(said)
    done = cli("vm", "session", "list", "web")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: web says about its sessions what it should not\n")
    assert "\x1b" not in done.stderr


def test_sessions_end_with_their_machine(guest, cli, daemon, machine):
    assert cli("vm", "session", "start", "web", "job", "--", "sleep", "9").returncode == 0
    assert "job" not in cli("vm", "session", "list", "web").stdout
    (guest.place / "list").write_text("")
    for change in ({"state": "stopped"}, {"state": "running", "started_at": 1.0}):
        machine.update(change)
        (row,) = json.loads(cli("vm", "session", "list", "web", "--json").stdout)
        assert (row["name"], row["state"], row["status"]) == ("job", "ended", None)
        assert row["machine_stopped"]
        assert row["command"] == ["sleep", "9"]
        for verb in ("logs", "attach", "stop"):
            done = cli("vm", "session", verb, "web", "job")
            assert done.returncode == 2
            assert done.stderr.startswith("error: the session job of web is gone\n")
    calls = len(guest.calls)
    assert cli("vm", "session", "delete", "web", "job").returncode == 0
    assert "job" not in cli("vm", "session", "list", "web").stdout
    assert not any(" remove " in call["remote"] for call in guest.calls[calls:])


def test_logs_are_tamed_for_terminals_alone(guest, cli):
    words = [sys.executable, "-m", "banger_core", "vm", "session", "logs", "web", "build"]
    for more, shown in (([], b"red\xef\xbf\xbd\r\n"), (["--raw"], b"\x1b[31mred\xff\r\r\n")):
        with terminal() as (ours, theirs):
            subprocess.run([*words, *more], stdout=theirs, check=True, timeout=60)
            os.close(theirs)
            assert read_all(ours) == shown
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=60)
    assert done.stdout == b"\x1b[31mred\xff\r\n"


def test_start_asks_for_a_name_that_is_free(guest, cli):
    done = cli("vm", "session", "start", "web", "new", "-t", "-u", "app", "--", "echo", "a b")
    assert done.returncode == 0, done.stderr
    assert guest.calls[-1]["remote"] == "banger-as app banger-session start new tty echo 'a b'"
    assert cli("vm", "session", "start", "web", "old", "--", "true").returncode == 0
    done = cli("vm", "session", "start", "web", "build", "--", "true")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1,
        "error: the session build of web runs already",
    )
    done = cli("vm", "session", "start", "web", "bad", "--", "nowhere")
    assert (done.returncode, done.stderr.splitlines()[:2]) == (
        1,
        ["error: the session bad of web did not start", "cause: nowhere: command not found"],
    )


@pytest.mark.parametrize("words", [("A", "--", "true"), ("-", "--", "true"), ("a",)])
def test_what_cannot_be_started_asks_nobody(guest, cli, words):
    assert cli("vm", "session", "start", "web", *words).returncode == 2
    assert guest.calls == []


def test_names_that_are_not_there_or_not_running(guest, cli):
    done = cli("vm", "session", "logs", "web", "buidl")
    assert done.returncode == 2
    assert "did you mean build?" in done.stderr
    for words in (("attach", "web", "old"), ("send", "web", "old", "x"), ("stop", "web", "old")):
        done = cli("vm", "session", *words)
        assert done.returncode == 2
        assert "the session old of web has ended with status 3" in done.stderr
    assert cli("vm", "session", "delete", "web", "build").returncode == 2


def test_send_and_stop(guest, cli):
    assert cli("vm", "session", "send", "web", "build", "yes", "--eof").returncode == 0
    assert guest.calls[-1] == {"remote": "banger-session send build eof", "input": "yes\n"}
    assert cli("vm", "session", "send", "web", "build", stdin=b"more").returncode == 0
    assert guest.calls[-1] == {"remote": "banger-session send build", "input": "more"}
    done = cli("vm", "session", "stop", "web", "build", "--grace", "3")
    assert done.stderr == "build did not end within 3 s and was killed, status 137\n"
    assert guest.calls[-1]["remote"] == "banger-session stop build 3"
