"""``vm cp``: what may be said, what comes out, how it ends."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
from terminals import read_all, terminal

SSH = """#!/bin/sh
echo "$@" >> "$FAKE_SSH/calls"
[ ! -e "$FAKE_SSH/slow" ] || while [ ! -e "$FAKE_SSH/go" ]; do sleep 0.05; done
[ ! -e "$FAKE_SSH/refuse" ] || { echo "ssh: connect to host host port 1: No route" >&2; exit 255; }
cd "$FAKE_SSH/home" && exec /usr/lib/openssh/sftp-server
"""


@pytest.fixture
def guest(ssh, noted, tmp_path):
    """The home of the machine ``web``, which lies here."""
    (tmp_path / "bin/ssh").write_text(SSH)
    place = tmp_path / "ssh/home"
    place.mkdir()
    return place


def test_files_go_in_and_out_and_nothing_is_said(cli, guest, tmp_path):
    (tmp_path / "file").write_text("data")
    done = cli("vm", "cp", str(tmp_path / "file"), "web:new")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (guest / "new").read_text() == "data"
    for path in ("web:new", "web:~/new", f"web:{guest}/new"):
        assert cli("vm", "cp", path, str(tmp_path / "back")).returncode == 0
        assert (tmp_path / "back").read_text() == "data"
        (tmp_path / "back").unlink()
    cli("vm", "cp", "web:", str(tmp_path / "all"))
    assert (tmp_path / "all/new").read_text() == "data"


def test_ssh_is_asked_for_the_subsystem_with_the_options_of_the_note(cli, guest, tmp_path):
    cli("vm", "cp", str(tmp_path / "bin/ssh"), "web:")
    (call,) = (tmp_path / "ssh/calls").read_text().splitlines()
    assert call.startswith("-T -s ")
    assert call.endswith("-F none host sftp")


def test_without_note_the_daemon_is_asked(cli, ssh, guest, noted, daemon, note, tmp_path):
    noted.unlink()
    daemon.answers["GET /v1/vms/0123/ssh"] = lambda _: note
    assert cli("vm", "cp", str(tmp_path / "bin/ssh"), "0123:x").returncode == 0
    assert (guest / "x").exists()


def test_streams(cli, guest):
    data = os.urandom(300_000)
    assert cli("vm", "cp", "-", "web:file", stdin=data).returncode == 0
    assert (guest / "file").read_bytes() == data
    (guest / "words").write_text("hello\n")
    done = cli("vm", "cp", "--json", "web:words", "-")
    assert (done.returncode, done.stdout) == (0, "hello\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("file", "other"), "neither side is VM:PATH"),
        (("web:a", "db:b"), "both sides are in machines"),
        (("web:a", "web:b"), "both sides are in machines"),
        (("web:a", "file", "into"), "all sources must be here, or in one machine"),
        (("web:a", "db:b", "into"), "all sources must be here, or in one machine"),
        (("web:a", "file", "web:b"), "all sources must be here, or in one machine"),
        (("-", "file", "web:into"), "- cannot be copied together with other files"),
        ((":file", "into"), "':file' names no machine"),
        (("./a:b", "c"), "neither side is VM:PATH"),
        (("web:a", "missing/"), "'missing/' is not a directory"),
        (("web:a", "web:b", "-"), "only one file can be copied to -"),
    ],
)
def test_what_makes_no_sense_is_refused(cli, guest, words, said):
    done = cli("vm", "cp", *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_failures_are_listed_and_the_rest_is_copied(cli, guest, tmp_path):
    (guest / "good").write_text("x")
    into = tmp_path / "into"
    into.mkdir()
    done = cli("vm", "cp", "web:good", "web:bad\n\x1b[1m", "web:worse", str(into))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: 2 files could not be copied",
        r"cause: 'bad\n\x1b[1m': no such file or directory",
        "       'worse': no such file or directory",
        "try:   mend that, and run the command again",
    ]
    assert (into / "good").exists()


def test_programs_get_a_summary_and_the_failures(cli, guest, tmp_path):
    (guest / "tree").mkdir()
    (guest / "tree/file").write_text("1234")
    (guest / "tree/link").symlink_to(b"\xff")
    os.mkfifo(guest / "tree/pipe")
    done = cli("vm", "cp", "--json", "web:tree", "web:none", str(tmp_path))
    summary = json.loads(done.stdout)
    assert summary.pop("seconds") >= 0
    assert summary == {
        "files": 1,
        "directories": 1,
        "links": 1,
        "copied": 4,
        "resumed": 0,
        "failures": 1,
        "skips": 1,
        "failed": [{"path": "none", "reason": "no such file or directory"}],
        "skipped": ["tree/pipe"],
    }
    assert done.returncode == 1
    assert json.loads(done.stderr.splitlines()[-1])["error"] == "one file could not be copied"


def test_what_is_skipped_is_told(cli, guest, tmp_path):
    (guest / "tree").mkdir()
    os.mkfifo(guest / "tree/pipe\n")
    done = cli("vm", "cp", "web:tree", str(tmp_path))
    assert done.returncode == 0
    assert done.stderr.endswith("nor a link: tree/pipe\\n\n")
    assert cli("vm", "cp", "-q", "web:tree", str(tmp_path)).stderr == ""


def test_a_machine_that_cannot_be_reached_is_one_error(cli, ssh, guest, tmp_path):
    ssh.behave("refuse")
    done = cli("vm", "cp", "web:x", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[:2] == [
        "error: the connection to web was lost",
        "cause: ssh: connect to host host port 1: No route",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("resume", [True, False])
def test_an_interrupted_copy_says_how_to_go_on(cli, ssh, guest, until, number, resume, tmp_path):
    ssh.behave("slow")
    words = ["vm", "cp", *([] if resume else ["--no-resume"]), "web:x", str(tmp_path)]
    process = cli.start(*words)
    until((tmp_path / "ssh/calls").exists)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err.startswith(b"error: the copy was interrupted\n")
    assert (b"goes on where it stopped" in err) == resume


def test_a_terminal_sees_how_far_it_is(cli, guest, tmp_path, monkeypatch):
    """The bar comes once a file is so big that it takes a while."""
    from banger_core.cli.copy import reporting

    with terminal() as (ours, theirs):
        with os.fdopen(theirs, "w") as shown:
            monkeypatch.setattr(sys, "stderr", shown)
            monkeypatch.setenv("TERM", "xterm")
            with reporting(quiet=False) as report:
                report("/big file", 5 << 20, 10 << 20)
                report("/big file", 10 << 20, 10 << 20)
                report("/small", 10, 10)
        seen = read_all(ours).decode()
    assert "big file" in seen
    assert "small" not in seen


def test_a_copy_imports_nothing_heavy(cli, guest, tmp_path):
    (tmp_path / "file").write_text("x")
    done = cli("vm", "cp", str(tmp_path / "file"), "web:", PYTHONPROFILEIMPORTTIME="1")
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "banger_core.client.copy_in" in names
    assert not names & {"asyncio", "asyncssh", "httpx", "pydantic", "rich", "banger_core.api"}
