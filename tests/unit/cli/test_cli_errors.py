"""Failures: three lines for people, one JSON object for programs, and the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from banger_core.errors import BangerError, ExitCode, NotFound
from banger_core.testing.fake_daemon import Stream


def test_an_error_of_the_daemon_is_three_kinds_of_lines(here, daemon):
    def missing(_):
        raise NotFound("VM", "wbe", ["web", "db"], hints=["banger vm list"])

    daemon.answers["GET /v1/vms/wbe"] = missing
    status, out, err = here("vm", "show", "wbe")
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        "error: no VM named 'wbe'",
        "cause: there is: web, db",
        "try:   did you mean web?",
        "try:   banger vm list",
    ]


def test_json_errors_are_one_object_on_stderr(here, daemon):
    def missing(_):
        raise NotFound("VM", "wbe", ["web"])

    daemon.answers["GET /v1/vms/wbe"] = missing
    status, out, err = here("vm", "show", "wbe", "--json")
    assert (status, out, err.count("\n")) == (2, "", 1)
    told = json.loads(err)
    assert (told["code"], told["exit_code"]) == ("not-found", 2)
    assert told["try"] == ["did you mean web?"]


@pytest.mark.parametrize("code", [c for c in ExitCode if c not in (ExitCode.OK, 130)])
def test_exit_codes_come_from_the_error(here, daemon, code):
    class Odd(BangerError):
        exit_code = code

    kinds = {1: "failed", 2: "usage", 3: "blocked", 4: "host-not-ready", 5: "plugin"}

    def fail(_):
        odd = Odd("odd")
        odd.to_dict = lambda: {"code": kinds[code], "error": "odd"}
        raise odd

    daemon.answers["GET /v1/vms"] = fail
    assert here("ps")[0] == code


@pytest.mark.parametrize(
    ("words", "line", "hint"),
    [
        (("vn",), "error: no banger command named 'vn'", "did you mean vm?"),
        (("vm", "lst"), "error: no banger vm command named 'lst'", "did you mean list?"),
        (("ps", "--jsno"), "error: no such option: --jsno", "did you mean --json?"),
        (("vm", "show"), "error: missing argument 'VM'", "banger vm show --help"),
        (("vm", "stop", "--force"), "error: missing argument 'VM…'", "banger vm stop --help"),
        (("vm", "exec", "web"), "error: missing argument '[--] COMMAND…'", "banger vm exec --help"),
        (("image", "pull", "--size"), "error: option '--size' requires an argument", "--help"),
        (("completion", "tcsh"), "error: invalid value for 'shell': 'tcsh'", "--help"),
    ],
)
def test_usage_errors_have_the_same_form(here, home, words, line, hint):
    status, out, err = here(*words)
    assert (status, out) == (2, "")
    assert err.startswith(line), err
    assert hint in err


@pytest.mark.parametrize("words", [(), ("vm",), ("daemon",)])
def test_nothing_asked_shows_help_on_stderr(here, home, words):
    status, out, err = here(*words)
    assert (status, out) == (2, "")
    assert err.startswith("Usage: banger")


def test_help_is_data(here, home):
    status, out, err = here("vm", "run", "--help")
    assert (status, err) == (0, "")
    assert out.startswith("Usage: banger vm run [OPTIONS] [IMAGE] [-- COMMAND…]")


def test_text_from_elsewhere_cannot_drive_the_terminal(here, daemon, machine):
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": [{**machine, "image": "a\x1b[2Jb\nc"}]}
    assert here("ps")[1].splitlines()[1].endswith("a\\x1b[2Jb\\nc")

    def fail(_):
        raise BangerError("bad\x1b[1m", cause="line one\nline\x07 two")

    daemon.answers["GET /v1/vms"] = fail
    assert here("ps")[2].splitlines() == [
        "error: bad\\x1b[1m",
        "cause: line one",
        "       line\\x07 two",
    ]


def test_the_unexpected_is_short_and_kept(here, daemon, home):
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": [{}]}
    status, _, err = here("ps")
    assert status == 1
    assert err.splitlines()[:2] == [
        "error: banger failed in a way that nobody foresaw: KeyError",
        "cause: 'name'",
    ]
    kept = home / "state" / "crash.log"
    assert f"the traceback is in {kept}" in err
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_debug_shows_the_traceback(here, daemon, monkeypatch):
    monkeypatch.setenv("BANGER_DEBUG", "1")
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": [{}]}
    assert "Traceback (most recent call last)" in here("ps")[2]


def test_a_reader_that_leaves_is_no_failure(daemon, machine):
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": [machine] * 20_000}
    command = f"{sys.executable} -m banger_core ps; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | head -1"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("NAME")
    assert done.stderr == "141\n"


@pytest.mark.parametrize("gone", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("words", "status"), [("ps", 0), ("plugin list --json", 0), ("nosuch", 2)])
def test_streams_that_are_closed_or_full_are_no_trouble(home, daemon, words, status, gone):
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": []}
    daemon.answers["GET /v1/plugins"] = lambda _: {"plugins": []}
    command = f"{sys.executable} -m banger_core {words} {gone}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == status, done
    assert "Traceback" not in done.stdout + done.stderr
    assert "nobody foresaw" not in done.stderr


@pytest.mark.parametrize("buffered", ["", "1"])
def test_output_that_finds_no_room_is_a_failure(home, daemon, buffered):
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": []}
    command = f"PYTHONUNBUFFERED={buffered} {sys.executable} -m banger_core ps --json >/dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = json.loads(done.stderr)
    assert said["error"] == "the output, or a file that this command writes, could not be written"
    assert said["cause"] == "No space left on device"


def test_ctrl_c_while_waiting_is_130(cli, daemon, until):
    import threading

    leave = threading.Event()

    def slow(_):
        leave.wait(20)
        return {}

    daemon.answers["GET /v1/doctor"] = slow
    process = cli.start("doctor")
    until(lambda: any(each.path == "/v1/doctor" for each in daemon.asked))
    process.send_signal(2)
    _, err = process.communicate(timeout=30)
    leave.set()
    assert (process.returncode, err) == (130, b"error: interrupted\n")


@pytest.mark.parametrize(
    "pieces",
    [[], [b"not json\n"], [b"[1]\n"], [b'{"kind": "operation.started"}\n']],
    ids=["nothing", "garbage", "no-event", "no-end"],
)
def test_a_stream_without_an_end_is_a_failure(here, daemon, pieces):
    daemon.answers["POST /v1/vms/web/start"] = lambda _: Stream(pieces)
    status, out, err = here("vm", "start", "web")
    assert (status, out) == (1, "")
    assert err.startswith("error: ")


def test_what_a_terminal_cannot_say_is_escaped(cli, daemon, machine):
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": [{**machine, "image": "naïve…"}]}
    done = cli("ps", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "na\\xefve\\u2026" in done.stdout
    assert os.environ.get("BANGER_DEBUG") is None
