"""Every other verb: what it asks the daemon, and what it writes."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest

from banger_core import __version__
from banger_core.config.paths import Paths
from banger_core.errors import Conflict, NotFound
from banger_core.testing.fake_daemon import Stream, operation
from banger_core.testing.stored import store_names

IMAGE = {
    "id": "fedcba987654",
    "name": "debian-bookworm",
    "ref": "debian://bookworm",
    "digest": "sha256:" + "1" * 64,
    "kernel": "debian 6.1",
    "disk_size": 2 << 30,
    "content_size": 150 << 20,
    "minimum_size": 200 << 20,
    "created_at": 1.0,
    "used_by": ["web"],
}
KERNEL = {
    "name": "debian-6.1",
    "version": "6.1.0-56",
    "distro": "debian",
    "architecture": "amd64",
    "problem": "",
    "provider": "debian",
    "here": True,
}


def asked(daemon):
    return [
        (f"{each.method} {each.path}", each.query, each.body)
        for each in daemon.asked
        if each.path != "/v1/status"
    ]


@pytest.mark.parametrize("words", [("vm", "list"), ("vm", "ls"), ("ps",)])
def test_vms_are_listed(here, daemon, machine, words):
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": [machine]}
    status, out, err = here(*words)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "NAME  STATE    ADDRESS     CREATED        IMAGE",
        "web   running  127.64.0.2  3 minutes ago  debian://bookworm",
    ]
    assert json.loads(here(*words, "--json")[1]) == [machine]


def test_no_vms_is_a_head_and_an_empty_list(here, daemon):
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": []}
    assert here("vm", "list")[1] == "NAME  STATE  ADDRESS  CREATED  IMAGE\n"
    assert here("vm", "list", "--json")[1] == "[]\n"


def test_a_vm_is_shown(here, daemon, machine):
    daemon.answers["GET /v1/vms/web"] = lambda _: machine
    lines = here("vm", "show", "web")[1].splitlines()
    assert "memory        256 MiB" in lines
    assert "labels        team=web" in lines
    assert "ephemeral     no" in lines
    assert "started_at    1 minute ago" in lines
    assert json.loads(here("vm", "show", "web", "--json")[1]) == machine


def test_what_a_vm_s_image_says_about_programs_is_for_programs(here, daemon, machine):
    more = {**machine, "platform": "linux/amd64", "config": {"env": ["A=1"]}}
    daemon.answers["GET /v1/vms/web"] = lambda _: more
    lines = here("vm", "show", "web")[1].splitlines()
    assert "platform      linux/amd64" in lines
    assert not [line for line in lines if "A=1" in line]
    assert json.loads(here("vm", "show", "web", "--json")[1]) == more


@pytest.mark.parametrize(
    ("words", "request_", "query", "body"),
    [
        (("vm", "start", "web"), "POST /v1/vms/web/start", {}, None),
        (("vm", "start", "--cold", "web"), "POST /v1/vms/web/start", {}, {"cold": True}),
        (("vm", "stop", "web"), "POST /v1/vms/web/stop", {}, {"force": False, "wait": True}),
        (
            ("vm", "stop", "--force", "web"),
            "POST /v1/vms/web/stop",
            {},
            {"force": True, "wait": True},
        ),
        (("vm", "delete", "web"), "DELETE /v1/vms/web", {}, None),
        (("vm", "rm", "-f", "web"), "DELETE /v1/vms/web", {"force": "1"}, None),
        (("image", "delete", "web"), "DELETE /v1/images/web", {}, None),
        (("kernel", "rm", "web"), "DELETE /v1/kernels/web", {}, None),
    ],
)
def test_one_reference(here, daemon, words, request_, query, body):
    daemon.answers[request_] = lambda _: operation({"kind": "step", "what": "working"})
    assert here(*words) == (0, "web\n", "working\n")
    assert here(*words, "-q") == (0, "web\n", "")
    assert asked(daemon)[0] == (request_, query, body)


def test_stop_without_waiting(here, daemon):
    daemon.answers["POST /v1/vms/web/stop"] = lambda _: {"operation": "op1"}
    assert here("vm", "stop", "--no-wait", "web") == (0, "web\n", "")


def test_several_references_are_tried_at_once_and_told_in_order(here, daemon):
    everybody = threading.Barrier(3, timeout=60)

    def start(each):
        everybody.wait()
        name = each.path.split("/")[3]
        if name == "b":
            return operation(error=Conflict("b is running"))
        time.sleep(0.2 if name == "a" else 0)
        return operation(result={"vm": {"name": name}})

    daemon.answers["POST /v1/vms/*"] = start
    assert here("vm", "start", "-q", "a", "b", "c", "a") == (1, "a\nc\n", "error: b is running\n")


def test_an_unknown_reference_does_not_stop_the_others(here, daemon):
    def delete(each):
        if each.path.endswith("wbe"):
            raise NotFound("VM", "wbe", ["web"])
        return operation()

    daemon.answers["DELETE /v1/vms/*"] = delete
    status, out, err = here("vm", "delete", "-q", "wbe", "web")
    assert (status, out) == (2, "web\n")
    assert "try:   did you mean web?" in err


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ((), {}),
        (("--raw", "--tail", "100"), {"raw": "1", "tail": "100"}),
        (("--follow",), {"follow": "1"}),
    ],
)
def test_logs_pass_through_as_bytes(cli, daemon, words, query):
    daemon.answers["GET /v1/vms/web/logs"] = lambda _: Stream([b"boot\n", b"", b"done\n"])
    done = cli("vm", "logs", "web", *words)
    assert (done.returncode, done.stdout) == (0, "boot\ndone\n")
    assert asked(daemon) == [("GET /v1/vms/web/logs", query, None)]


def test_images(here, daemon):
    daemon.answers["GET /v1/images"] = lambda _: {"images": [IMAGE]}
    daemon.answers["GET /v1/images/debian-bookworm"] = lambda _: IMAGE
    daemon.answers["POST /v1/images/pull"] = lambda _: operation(
        {"kind": "progress", "what": "fetching", "done": 0, "total": 3 << 20},
        {"kind": "progress", "what": "fetching", "done": 3 << 20, "total": 3 << 20},
        result={"image": IMAGE},
    )
    assert re.search(
        r"^debian-bookworm +150 MiB +debian 6.1 +\d+ years ago +\S+ +debian://bookworm$",
        here("image", "list")[1],
        re.MULTILINE,
    )
    assert "used_by       web\n" in here("image", "show", "debian-bookworm")[1]
    pulled = here("image", "pull", "debian://bookworm", "--size", "4G", "--name", "b")
    assert pulled == (0, "debian-bookworm\n", "fetching (3 MiB)\n")
    body = {"ref": "debian://bookworm", "name": "b", "kernel": "", "size": 4 << 30, "platform": ""}
    assert daemon.asked[-1].body == body
    here("image", "pull", "python:3.12-slim", "--platform", "linux/arm64")
    more = {"ref": "python:3.12-slim", "name": None, "size": None, "platform": "linux/arm64"}
    assert daemon.asked[-1].body == {**body, **more}
    for words in (("list",), ("show", "debian-bookworm"), ("pull", "debian://bookworm")):
        assert json.loads(here("image", *words, "--json")[1]) in (IMAGE, [IMAGE])


def test_names_with_slashes_stay_one_segment(here, daemon):
    seen = []
    daemon.answers["GET /v1/images/*"] = lambda each: seen.append(each.path) or IMAGE
    here("image", "show", "ghcr.io/org/app:1?x#y")
    assert seen == ["/v1/images/ghcr.io/org/app:1?x#y"]


def test_kernels(here, daemon):
    daemon.answers["GET /v1/kernels"] = lambda _: {"kernels": [KERNEL]}
    daemon.answers["GET /v1/kernels/debian-6.1"] = lambda _: KERNEL
    daemon.answers["POST /v1/kernels/pull"] = lambda _: operation(result={"kernel": KERNEL})
    assert here("kernel", "list")[1].splitlines()[1].split() == [
        *("debian-6.1", "6.1.0-56", "debian", "amd64", "-")
    ]
    assert here("kernel", "list", "--available")[1].splitlines()[1].endswith("amd64  debian")
    assert daemon.asked[-1].query == {"available": "1"}
    assert "version       6.1.0-56\n" in here("kernel", "show", "debian-6.1")[1]
    assert here("kernel", "pull", "debian-6.1", "--force")[:2] == (0, "debian-6.1\n")
    assert daemon.asked[-1].body == {"name": "debian-6.1", "force": True}
    for words in (("list",), ("show", "debian-6.1"), ("pull", "debian-6.1")):
        assert json.loads(here("kernel", *words, "--json")[1]) in (KERNEL, [KERNEL])


@pytest.mark.parametrize(("levels", "expected"), [(["pass", "warn"], 0), (["warn", "fail"], 4)])
def test_doctor(here, daemon, levels, expected):
    findings = [
        {"level": each, "subject": f"s-{each}", "message": "m", "why": "w", "fix": "f"}
        for each in levels
    ]
    daemon.answers["GET /v1/doctor"] = lambda _: {"findings": findings}
    mended = [{"level": "pass", "subject": "s-mended", "message": "m", "why": "", "fix": ""}]
    daemon.answers["POST /v1/doctor/fix"] = lambda _: {"findings": mended}
    status, out, _ = here("doctor")
    assert status == expected
    assert "WARN  s-warn: m\n      why: w\n      fix: f\n" in out
    status, out, _ = here("doctor", "--json")
    assert (status, json.loads(out)) == (expected, findings)
    status, out, _ = here("doctor", "--fix", "--json")
    assert (status, json.loads(out)) == (expected, mended + findings)


def test_configuration(here, daemon):
    config = {"file": "/x", "settings": [{"name": "image.default", "value": "a", "origin": "user"}]}
    daemon.answers["GET /v1/config"] = lambda _: config
    assert here("config", "show")[1].splitlines()[1].split() == ["image.default", "a", "user"]
    assert json.loads(here("config", "show", "--json")[1]) == config
    assert here("config", "path")[1] == f"{Paths.from_environment().settings_file}\n"


def test_daemon_status_starts_nothing(here, home):
    assert here("daemon", "status") == (1, "", "the daemon does not run\n")
    status, out, _ = here("daemon", "status", "--json")
    assert (status, json.loads(out)) == (1, {"running": False})
    assert here("daemon", "stop") == (0, "", "the daemon does not run\n")


def test_daemon_status_of_a_running_one(here, daemon):
    status, out, _ = here("daemon", "status")
    assert status == 0
    assert f"version     {__version__}\n" in out
    assert json.loads(here("daemon", "status", "--json")[1])["running"] is True
    assert here("daemon", "start")[0] == 0


def test_daemon_stop_asks_it_to_leave(here, daemon):
    daemon.answers["POST /v1/stop"] = lambda _: {}
    assert here("daemon", "stop") == (0, "", "the daemon has stopped\n")
    assert asked(daemon) == [("POST /v1/stop", {}, None)]


def test_daemon_logs(here, home):
    assert "there is no" in here("daemon", "logs")[2]
    Paths.from_environment().daemon_log.write_text("one\ntwo\x1b]0;evil\x07\nthree\n")
    assert here("daemon", "logs", "--tail", "2")[1] == "two\\x1b]0;evil\\x07\nthree\n"


def test_versions(here, home):
    assert here("--version") == (0, f"banger {__version__}\n", "")
    assert f"banger   {__version__}\ndaemon   not running\n" in here("version")[1]
    assert json.loads(here("version", "--json")[1])["daemon"] is None


def test_no_plugins_reaches_the_daemon_that_is_started(here, daemon, monkeypatch):
    monkeypatch.setenv("BANGER_PLUGINS", "x")
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": []}
    here("--no-plugins", "ps")
    import os

    assert os.environ["BANGER_PLUGINS"] == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(here, home, shell):
    status, out, _ = here("completion", shell)
    assert status == 0
    assert f"_BANGER_COMPLETE={shell}" in out


def test_completion_offers_verbs_and_names(cli, home):
    store_names(Paths.from_environment(), vms=["web", "build"])
    offered = cli("vm", "s", _BANGER_COMPLETE="bash").stdout.splitlines()
    assert sorted(line.partition("\t")[0] for line in offered) == [
        *("session", "set", "show", "snapshot", "ssh", "start", "stats", "stop")
    ]
    assert cli("vm", "show", "w", _BANGER_COMPLETE="bash").stdout == "web\t\n"
    assert not Paths.from_environment().daemon_log.exists()


@pytest.mark.parametrize("words", [(), ("nonsense", ""), ("vm", "nonsense", "x"), ("version", "x")])
def test_completion_of_nonsense_is_nothing_or_commands(cli, home, words):
    done = cli(*words, _BANGER_COMPLETE="bash")
    assert (done.returncode, done.stderr) == (0, "")
