"""``vm run``: what is asked for, what comes out, and what remains."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from banger_core.errors import Conflict, GuestFailed, Interrupted, NotFound
from banger_core.testing.fake_daemon import Stream, event, operation

CREATE, STOP = "POST /v1/vms", "POST /v1/vms/0123456789ab/stop"
DELETE = "DELETE /v1/vms/0123456789ab"


@pytest.fixture
def ready(daemon, machine, note):
    """A daemon that makes the VM ``web``."""
    result = {"vm": machine, "ssh": note, "timing": {"total": 1.94}}
    step = {"kind": "step", "what": "booting web"}
    daemon.answers[CREATE] = lambda _: operation(step, result=result)
    daemon.answers[STOP] = lambda _: {"operation": "op2"}
    daemon.answers[DELETE] = lambda _: operation(result={"vm": {"name": "web"}})
    daemon.answers["POST /v1/operations/op1/cancel"] = lambda _: {}
    daemon.answers["GET /v1/vms/0123456789ab"] = lambda _: machine
    return daemon


def verbs(daemon):
    asked = [f"{each.method} {each.path}" for each in daemon.asked]
    return [each for each in asked if each != "GET /v1/status"]


def test_a_command_passes_through_and_the_machine_is_kept(cli, ssh, ready):
    done = cli("vm", "run", "--", "sh", "-c", "cat; echo err >&2; exit 3", stdin=b"in")
    assert (done.returncode, done.stdout) == (3, "in")
    assert done.stderr.splitlines() == [
        "booting web",
        "web is ready after 1.9 s",
        "err",
        (
            "web is kept · back to it: banger vm start web && banger ssh web"
            " · away with it: banger vm delete web"
        ),
    ]
    assert verbs(ready) == [CREATE, STOP]
    assert ready.asked[-1].body == {"force": False, "wait": False}


def test_everything_asked_for_reaches_the_daemon(cli, ssh, ready):
    done = cli(
        *("vm", "run", "web-base", "--name", "web", "--vcpu", "2", "--memory", "1.5G"),
        *(
            "--disk-size",
            "8GiB",
            "--work-disk",
            "1G",
            "--network",
            "user",
            "--driver",
            "qemu",
            "--accel",
            "tcg",
        ),
        *("-p", "8080:80", "--publish", "53/udp", "--no-nat", "--link", "db", "--host-access"),
        *("--kernel-ref", "k", "--cold", "--label", "a=1", "--label", "b=x=y", "-q", "--", "true"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert next(each.body for each in ready.asked if each.path == "/v1/vms") == {
        "request": {
            "image": "web-base",
            "entrypoint": False,
            "name": "web",
            "vcpu": 2,
            "memory": 3 << 29,
            "disk_size": 8 << 30,
            "work_disk": 1 << 30,
            "network": "user",
            "publish": [
                {"host_port": 8080, "guest_port": 80, "protocol": "tcp"},
                {"host_port": 53, "guest_port": 53, "protocol": "udp"},
            ],
            "nat": False,
            "host_access": True,
            "link": ["db"],
            "driver": "qemu",
            "kernel": "k",
            "accel": "tcg",
            "cold": True,
            "ephemeral": False,
            "lease": None,
            "labels": {"a": "1", "b": "x=y"},
            "project": None,
        },
        "start": True,
        "dry_run": False,
    }


def test_rm_deletes_and_leaves_a_lease(cli, ssh, ready):
    done = cli("vm", "run", "--rm", "--", "sh", "-c", "exit 5")
    assert done.returncode == 5
    assert verbs(ready) == [CREATE, DELETE]
    assert ready.asked[-1].query == {"force": "1"}
    lease = next(each.body for each in ready.asked if each.body)["request"]["lease"]
    assert lease["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert lease["pid"] != os.getpid()
    assert lease["start_ticks"] > 0


def test_detach_writes_the_name(here, ready):
    assert here("vm", "run", "-d", "-q") == (0, "web\n", "")
    assert verbs(ready) == [CREATE]


def test_create_does_not_start(here, ready):
    status, out, _ = here("vm", "create", "--json")
    assert (status, json.loads(out)["name"]) == (0, "web")
    assert ready.asked[-1].body["start"] is False


def test_dry_run_shows_the_plan(here, daemon):
    plan = {
        "name": "web",
        "image": {"ref": "debian://bookworm", "data": {}},
        "vcpu": 2,
        "memory": 256 << 20,
    }
    daemon.answers[CREATE] = lambda _: operation(result={"plan": plan})
    assert here("vm", "run", "--dry-run")[:2] == (
        0,
        (
            "name       web\nimage.ref  debian://bookworm\nvcpu       2\n"
            "memory     256 MiB\nssh        -\n"
        ),
    )
    assert json.loads(here("vm", "run", "--dry-run", "--json")[1]) == plan
    assert daemon.asked[-1].body["dry_run"] is True


def test_without_a_command_stdin_is_read_by_a_shell(cli, ssh, ready):
    done = cli("vm", "run", "-q", stdin=b"echo from a script\nexit 4\n")
    assert (done.returncode, done.stdout) == (4, "from a script\n")
    assert ssh.calls[0]["remote"] == []
    assert "-T" in ssh.calls[0]["args"]


@pytest.mark.parametrize("how", [(), ("--rm",)])
def test_a_failed_boot_is_told_and_tidied(cli, ssh, ready, how):
    error = GuestFailed("web did not answer", cause="timeout", hints=["banger vm logs web"])
    begun = {"kind": "step", "what": "booting", "vm": "0123456789ab"}
    ready.answers[CREATE] = lambda _: operation(begun, error=error)
    done = cli("vm", "run", *how, "--", "true")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-3:] == [
        "error: web did not answer",
        "cause: timeout",
        "try:   banger vm logs web",
    ]
    assert verbs(ready) == ([CREATE, DELETE] if how else [CREATE])
    assert not ssh.calls


def test_what_the_daemon_has_removed_itself_is_no_error(cli, ssh, ready):
    def gone(_):
        raise NotFound("VM", "0123456789ab")

    ready.answers[DELETE] = gone
    assert cli("vm", "run", "--rm", "--", "true").returncode == 0


def test_a_delete_that_fails_is_an_error(cli, ssh, ready):
    ready.answers[DELETE] = lambda _: operation(error=Conflict("web is busy"))
    done = cli("vm", "run", "--rm", "-q", "--", "true")
    assert (done.returncode, done.stderr) == (1, "error: web is busy\n")
    assert cli("vm", "run", "--rm", "-q", "--", "sh", "-c", "exit 9").returncode == 9


def test_a_lost_connection_says_what_became_of_the_machine(cli, ssh, ready, machine):
    ssh.behave("refuse")
    machine["state"] = "failed"
    done = cli("vm", "run", "--rm", "-q", "--", "true")
    assert done.returncode == 255
    assert done.stderr.splitlines()[:2] == [
        "error: the connection to web was lost",
        "cause: ssh: connect to host host port 1: Connection refused; the machine is failed now",
    ]
    assert verbs(ready)[-1] == DELETE


def test_shutting_down_is_a_way_to_leave_a_shell(cli, ssh, ready, machine):
    ssh.behave("refuse")
    machine["state"] = "stopped"
    done = cli("vm", "run", "--rm")
    assert done.returncode == 0
    assert "web has shut down" in done.stderr


@pytest.mark.parametrize(("how", "last"), [((), STOP), (("--rm",), DELETE)])
def test_ctrl_c_reaches_the_guest_and_the_machine_is_tidied(cli, ssh, ready, how, last):
    process = cli.start("vm", "run", *how, "--", "sleep", "60")
    ssh.wait_for_program()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert verbs(ready)[-1] == last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_boot_cancels_it(cli, ssh, ready, until, number):
    cancelled = threading.Event()

    def cancel(_):
        cancelled.set()
        return {}

    def boot(_):
        def events():
            yield event("operation.started")
            yield event("step", what="booting")
            assert cancelled.wait(60)
            failed = Interrupted("creating a VM was stopped")
            yield event("operation.failed", error=failed.to_dict())

        return Stream(events())

    ready.answers[CREATE] = boot
    ready.answers["POST /v1/operations/op1/cancel"] = cancel
    process = cli.start("vm", "run", "--rm", "--", "true")
    assert process.stderr.readline() == b"booting\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == b"error: creating a VM was stopped\n"
    assert not ssh.calls


def test_a_cancel_that_comes_too_late_still_tidies(cli, ssh, ready, machine, note):
    cancelled = threading.Event()

    def cancel(_):
        cancelled.set()
        return {}

    def boot(_):
        def events():
            yield event("operation.started")
            yield event("step", what="booting")
            assert cancelled.wait(60)
            yield event("operation.done", result={"vm": machine, "ssh": note})

        return Stream(events())

    ready.answers[CREATE] = boot
    ready.answers["POST /v1/operations/op1/cancel"] = cancel
    process = cli.start("vm", "run", "--rm", "--", "true")
    assert process.stderr.readline() == b"booting\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert verbs(ready)[-1] == DELETE
    assert not ssh.calls


def test_a_daemon_that_dies_meanwhile_is_one_clear_error(cli, ssh, ready):
    ready.answers[CREATE] = lambda _: Stream([event("operation.started")])
    done = cli("vm", "run", "--", "true")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the daemon went away before the operation ended\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", "A_b"), "'A_b' cannot be the name of a VM"),
        (("--memory", "lots"), "--memory lots"),
        (("--memory", "512"), "--memory 512 would be 512 bytes"),
        (("--disk-size", "-1G"), "--disk-size -1G"),
        (("--vcpu", "0"), "--vcpu 0 is not possible"),
        (("--label", "x"), "--label x: a label is KEY=VALUE"),
        (("--accel", "magic"), "invalid value for '--accel'"),
        (("-d", "--rm"), "--rm and -d exclude each other"),
        (("-d", "--", "true"), "-d and a command exclude each other"),
        (("--json",), "--json needs -d or --dry-run"),
        (("--",), "there is no command after --"),
        (("debian", "ls", "-la"), "'ls' is one argument too many"),
    ],
)
def test_bad_input_is_refused_before_the_daemon_is_asked(here, daemon, words, said):
    status, out, err = here("vm", "run", *words)
    assert (status, out) == (2, "")
    assert said in err if "json" not in words[0] else json.loads(err)["error"].startswith(said)
    assert not daemon.asked


def test_a_forgotten_dash_dash_shows_the_right_line(here, home):
    _, _, err = here("vm", "run", "--rm", "debian", "sh", "-c", "echo hi")
    assert "try:   banger vm run --rm debian -- sh -c 'echo hi'\n" in err


def test_the_images_own_program_is_asked_for_and_run(cli, ssh, ready):
    done = cli("vm", "run", "--rm", "-q", "--entrypoint", "-u", "app", "--", "a b")
    assert (done.returncode, done.stdout, done.stderr) == (7, "own as app: a b\n", "")
    assert next(each.body for each in ready.asked if each.body)["request"]["entrypoint"] is True


def test_a_shell_as_another_user(cli, ssh, ready):
    done = cli("vm", "run", "--rm", "-q", "-u", "app", stdin=b"exit 4\n")
    assert done.returncode == 4
    assert ssh.calls[0]["remote"] == ["banger-as app"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("-d", "--entrypoint"), "-d and --entrypoint exclude each other"),
        (("-d", "-u", "app"), "-d and --user exclude each other"),
        (("-d", "."), "-d and a checkout exclude each other"),
        (("--include-untracked",), "--include-untracked is about a checkout"),
        (("/",), "/ is not in a git checkout"),
        (("-d", "--", "true"), "-d and a command exclude each other"),
        (("-u", "a b"), "--user 'a b' can be no user"),
    ],
)
def test_what_makes_no_sense_of_a_session_is_refused_before_anything(here, ready, words, error):
    status, _, err = here("vm", "run", *words)
    assert status == 2
    assert err.startswith(f"error: {error}\n")
    assert verbs(ready) == []
