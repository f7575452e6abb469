"""Verbs on machines that are there: what they ask the daemon, and what they write."""

from __future__ import annotations

import json

import pytest

from banger_core.errors import Conflict, NotFound
from banger_core.testing.fake_daemon import operation


def done(name, *events):
    return operation(*events, result={"vm": {"id": "0", "name": name}})


def bodies(daemon, end):
    return [each.body for each in daemon.asked if each.path.endswith(end)]


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (("restart", "web"), "restart", {"force": False}),
        (("restart", "--force", "web"), "restart", {"force": True}),
        (("pause", "web"), "pause", {}),
        (("resume", "web"), "resume", {}),
        (("kill", "web"), "kill", {"signal": "KILL"}),
        (("kill", "-s", "sigterm", "web"), "kill", {"signal": "TERM"}),
    ],
)
def test_verbs_ask_for_one_operation(here, daemon, words, path, body):
    daemon.answers[f"POST /v1/vms/web/{path}"] = lambda _: done("web")
    assert here("vm", *words)[:2] == (0, "web\n")
    assert bodies(daemon, path) == [body]


def test_a_signal_that_ends_nothing_is_refused_at_once(here, daemon):
    status, _, err = here("vm", "kill", "--signal", "USR1", "web")
    assert (status, daemon.asked) == (2, [])
    assert "USR1 does not end a machine" in err
    assert "KILL, TERM" in err


def test_several_are_found_at_once_and_reported_in_order(here, daemon):
    missing = NotFound("VM", "nobody", ["web", "db"])
    rows = {
        "web": {"id": "1", "name": "web"},
        "nobody": {"error": missing.to_dict()},
        "db": {"id": "2", "name": "db"},
        "1": {"id": "1", "name": "web"},
    }
    daemon.answers["POST /v1/resolve"] = lambda asked: {
        "vms": [rows[each] for each in asked.body["references"]]
    }

    def refuse(_):
        raise Conflict("web is stopped")

    daemon.answers["POST /v1/vms/1/pause"] = refuse
    daemon.answers["POST /v1/vms/2/pause"] = lambda _: done(
        "db", {"kind": "notice", "text": "so it is"}
    )
    status, out, err = here("vm", "pause", "web", "nobody", "db", "1")
    assert (status, out) == (1, "db\n")
    assert err.index("web is stopped") < err.index("no VM named 'nobody'")
    assert "db: so it is" in err
    # One machine that goes by two references is asked once
    assert len(bodies(daemon, "/v1/vms/1/pause")) == 1


def test_set_sends_what_is_named_and_nothing_else(here, daemon):
    daemon.answers["POST /v1/vms/web/set"] = lambda _: done("web")
    words = ("--memory", "1G", "--disk-size", "8G", "--no-nat", "--label", "a=1", "--unlabel", "b")
    assert here("vm", "set", "web", *words)[0] == 0
    assert bodies(daemon, "/set") == [
        {
            "vcpu": None,
            "memory": 1 << 30,
            "disk_size": 8 << 30,
            "work_disk": None,
            "nat": False,
            "link": [],
            "unlink": [],
            "labels": {"a": "1"},
            "unlabel": ["b"],
        }
    ]


def test_set_without_a_change_is_refused(here, daemon):
    status, _, err = here("vm", "set", "web")
    assert (status, daemon.asked) == (2, [])
    assert "nothing is to be changed" in err


def test_prune_deletes_the_stopped_and_asks_before(here, daemon, machine):
    rows = [
        machine,
        {**machine, "name": "old", "state": "stopped", "labels": {}},
        {**machine, "name": "bad", "state": "failed", "labels": {"team": "db"}},
        {**machine, "name": "hot", "state": "paused", "labels": {}},
    ]
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": rows}
    for name in ("old", "bad"):
        daemon.answers[f"DELETE /v1/vms/{name}"] = lambda _, name=name: done(name)
    assert here("vm", "prune", "--dry-run")[1] == "old\nbad\n"
    status, out, err = here("vm", "prune")
    assert (status, out) == (2, "")
    assert "--force" in err
    assert here("vm", "prune", "--force", "--label", "team=db")[:2] == (0, "bad\n")
    assert here("vm", "prune", "--force")[:2] == (0, "old\nbad\n")
    deleted = [each for each in daemon.asked if each.method == "DELETE"]
    assert not any("force" in each.query for each in deleted)


GUEST = {
    "memory_used": 64 << 20,
    "memory": 256 << 20,
    "disk_read_rate": 0,
    "disk_write_rate": 1 << 20,
    "receive_rate": 512,
    "send_rate": 0,
    "load": [0.5, 0.1, 0.0],
}


def test_stats_are_a_table_or_json(here, daemon):
    rows = [
        {"name": "web", "cpu_percent": 12.5, "host_memory": 300 << 20, "memory": 256 << 20,
         "guest": GUEST, "problem": ""},
        {"name": "hot", "cpu_percent": 0.0, "host_memory": 300 << 20, "memory": 256 << 20,
         "guest": None, "problem": "its helper does not answer"},
        {"name": "off", "problem": "it is stopped"},
    ]  # fmt: skip
    daemon.answers["GET /v1/stats"] = lambda _: {"vms": rows}
    status, out, err = here("vm", "stats")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert status == 0
    assert lines[1] == "web 12.5% 64 MiB / 256 MiB 300 MiB 0 B/s 1 MiB/s 512 B/s 0 B/s 0.50"
    assert lines[2] == "hot 0.0% - / 256 MiB 300 MiB - - - - -"
    assert lines[3] == "off - - - - - - - -"
    assert "hot: its helper does not answer" in err
    assert json.loads(here("vm", "stats", "--json", "web", "off")[1]) == rows
    assert daemon.asked[-1].query == {"vm": "web,off", "interval": "1.0"}
    assert here("vm", "stats", "--interval", "0")[0] == 2


def test_ports_say_where_they_are_reached(here, daemon):
    rows = [
        {"protocol": "tcp", "address": "0.0.0.0", "port": 80, "process": "nginx", "pid": 7,
         "host": "127.1.2.3:8080"},
        {"protocol": "udp", "address": "::", "port": 53, "process": "", "pid": None, "host": None},
    ]  # fmt: skip
    daemon.answers["GET /v1/vms/web/ports"] = lambda _: {"ports": rows}
    assert [line.split() for line in here("vm", "ports", "web")[1].splitlines()] == [
        ["PROTOCOL", "ADDRESS", "PORT", "HOST", "PROCESS"],
        ["tcp", "0.0.0.0", "80", "127.1.2.3:8080", "nginx", "(7)"],
        ["udp", "::", "53", "-", "-"],
    ]
    assert json.loads(here("vm", "ports", "web", "--json")[1]) == rows


def test_health_decides_the_exit_status(here, daemon):
    def answer(name, *, well):
        checks = [{"name": "ssh", "ok": well, "detail": "it says nothing"}]
        return {"name": name, "healthy": well, "checks": checks}

    daemon.answers["GET /v1/vms/web/health"] = lambda _: answer("web", well=True)
    daemon.answers["GET /v1/vms/db/health"] = lambda _: answer("db", well=False)
    assert here("vm", "health", "web")[0] == 0
    status, out, _ = here("vm", "health", "web", "db")
    assert status == 1
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["web", "ssh", "ok"],
        ["db", "ssh", "fail"],
    ]
    assert [row["name"] for row in json.loads(here("vm", "health", "--json", "db", "web")[1])] == [
        "db",
        "web",
    ]


ROW = {
    "id": "1", "name": "s1", "vm": "web", "vm_id": "2", "created_at": 0.0, "size": 3 << 20,
    "needs": {"qemu": "7.2.22", "devices": "virtio-net", "driver": "qemu", "kernel": "sha256:0"},
}  # fmt: skip


def test_snapshots_are_made_restored_and_deleted_by_name(here, daemon):
    place = "/v1/vms/web/snapshots"
    daemon.answers[f"POST {place}"] = lambda _: operation(
        result={"vm": {"name": "web"}, "snapshot": ROW}
    )
    daemon.answers[f"POST {place}/s1/restore"] = lambda _: done("web")
    daemon.answers[f"DELETE {place}"] = lambda _: done("web")
    assert here("vm", "snapshot", "create", "web")[:2] == (0, "s1\n")
    assert json.loads(here("vm", "snapshot", "create", "web", "s1", "--json")[1]) == ROW
    assert here("vm", "snapshot", "restore", "web", "s1")[:2] == (0, "web\n")
    assert here("vm", "snapshot", "delete", "web", "s1", "s2", "s1")[:2] == (0, "s1\ns2\n")
    assert [each.body for each in daemon.asked if each.body is not None] == [
        {"name": ""}, {"name": "s1"}, {}, {"names": ["s1", "s2"]}
    ]  # fmt: skip


def test_snapshots_are_listed_with_what_people_look_for(here, daemon):
    daemon.answers["GET /v1/snapshots"] = lambda _: {"snapshots": [ROW]}
    daemon.answers["GET /v1/vms/web/snapshots"] = lambda _: {"snapshots": [{**ROW, "size": 0}]}
    status, out, _ = here("vm", "snapshot", "list")
    assert status == 0
    assert "web" in out
    assert "3 MiB" in out
    assert "qemu 7.2.22" in out
    assert "virtio-net" not in out
    assert "gone" in here("vm", "snapshot", "list", "web")[1]
    assert json.loads(here("vm", "snapshot", "list", "--json")[1]) == [ROW]


def test_copies_are_named_one_by_one(here, daemon):
    rows = [{"name": "web-1"}, {"name": "web-2"}]
    daemon.answers["POST /v1/vms/web/fork"] = lambda _: operation(result={"vms": rows})
    assert here("vm", "fork", "web", "-n", "2")[:2] == (0, "web-1\nweb-2\n")
    assert json.loads(here("vm", "fork", "web", "--name", "db", "--json")[1]) == rows
    assert bodies(daemon, "fork") == [{"count": 2, "name": ""}, {"count": 1, "name": "db"}]
    assert here("vm", "fork", "web", "-n", "0")[0] == 2


WARM = "POST /v1/warm/prune"


def test_pruning_what_is_saved_deletes_no_machine(here, daemon):
    item = {"name": "qemu-a-b", "size": 96 << 20, "used_at": 1.0}
    daemon.answers[WARM] = lambda _: operation(result={"items": [item]})
    for words, end in ((("--dry-run",), "would be freed"), ((), "freed")):
        status, out, err = here("vm", "prune", "--warm", *words)
        assert (status, daemon.asked[-1].body) == (0, {"dry_run": bool(words)})
        assert out.splitlines()[1].split()[:2] == ["96", "MiB"]
        assert err == f"96 MiB {end}\n"
    assert here("vm", "prune", "--warm", "-q") == (0, "", "")
    assert not [each for each in daemon.asked if each.method == "DELETE"]
    daemon.answers[WARM] = lambda _: operation(result={"items": []})
    assert here("vm", "prune", "--warm")[2] == "no machine is saved for warm starts\n"
    status, _, err = here("vm", "prune", "--warm", "--label", "a=b")
    assert status == 2
    assert "--warm and --label exclude each other" in err
