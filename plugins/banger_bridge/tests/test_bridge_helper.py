"""The helper: what it makes and removes exactly, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bridge_space import BRIDGE, everything, port, sh

from banger_bridge.helper import interfaces, operations
from banger_bridge.helper.checks import Refused, read_bridge, read_port

A, B = 5, 6
USAGE = "usage: banger-bridge-helper check|connect|change|switch|disconnect|sweep|counters"
LINKED = {"links": [f"bgr{A:012x}"], "outbound": True, "host_access": True}


def test_everything_is_as_before_when_all_are_gone(host, do):
    before = everything()
    do("connect", port(A))
    alone = everything()[0]
    do("connect", port(B, **LINKED))
    do("connect", port(B, **LINKED))
    do("disconnect", port(B, **LINKED))
    assert everything()[0] == alone
    do("disconnect", port(A))
    assert everything() == before
    do("disconnect", port(A))
    assert everything() == before


def test_what_a_machine_may_reach_changes_while_it_is_connected(host, do):
    before = everything()
    do("connect", port(A))
    do("connect", port(B))
    apart = everything()
    do("change", port(B, links=LINKED["links"], outbound=True))
    changed = everything()
    assert f'"bgr{A:012x}" . "bgr{B:012x}"' in changed[0]
    assert changed[1:] == apart[1:]
    do("change", port(B, links=LINKED["links"], outbound=True))
    assert everything() == changed
    do("change", port(B))
    assert everything() == apart
    # From the other side, and with one who is not there
    do("change", port(A, links=[f"bgr{B:012x}", "bgr000000000009"]))
    assert "000000000009" not in everything()[0]
    do("change", port(B))
    assert everything() == apart
    do("disconnect", port(A))
    do("disconnect", port(B))
    assert everything() == before


def test_a_link_is_there_as_long_as_both_are(host, do):
    do("connect", port(B, **LINKED))
    alone = everything()[0]
    assert f"bgr{A:012x}" not in alone
    do("connect", port(A, links=[f"bgr{B:012x}"]))
    assert f'"bgr{A:012x}" . "bgr{B:012x}"' in everything()[0]
    do("disconnect", port(A))
    assert everything()[0] == alone
    do("disconnect", port(B))


def test_who_is_not_connected_is_not_changed(host, do):
    before = everything()
    for _ in range(2):
        with pytest.raises(Refused, match="is not connected") as problem:
            do("change", port(B, **LINKED))
        assert problem.value.kind == "conflict"
    assert everything() == before
    do("connect", port(B))
    there = everything()
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    with pytest.raises(Refused, match="forwards no packets"):
        do("change", port(B, outbound=True))
    assert everything() == there
    do("disconnect", port(B))


STEPS = [
    "make_bridge",
    "apply",
    "make_tap",
    "ip_batch 1",
    "ip_batch 2",
    "ip_batch 3",
    "ip_batch 4",
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("others", [False, True])
def test_what_is_left_half_made_is_removed(host, do, monkeypatch, step, others):
    if others:
        do("connect", port(A))
    before = everything()
    name, _, number = step.partition(" ")
    module = operations if name == "apply" else interfaces
    real, calls = getattr(module, name), []

    def fail(*arguments):
        calls.append(arguments)
        real(*arguments)
        if len(calls) >= int(number or 1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        with pytest.raises(KeyboardInterrupt):
            do("connect", port(B, **LINKED))
    do("disconnect", port(B, **LINKED))
    after = everything()
    assert after[0] == before[0]
    assert sh("ip", "-json", "link", "show") == before[1]


def test_only_a_tap_of_ones_own_is_switched(host, do):
    do("connect", port(A))
    links = sh("ip", "-json", "link", "show")
    others = port(A, owner="0-ffffffffffff")
    for asked in (port(B, on=True), {**others, "on": False}):
        with pytest.raises(Refused, match="of this banger's"):
            do("switch", asked)
    assert sh("ip", "-json", "link", "show") == links


def test_a_connect_after_a_crash_completes_it(host, do, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(interfaces, "make_tap", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            do("connect", port(A))
    do("connect", port(A))
    do("disconnect", port(A))
    assert "banger" not in sh("nft", "list", "ruleset")


def test_sweep_finds_what_nobody_remembers(host, do):
    before = everything()
    do("connect", port(A))
    do("connect", port(B, **LINKED))
    kept = do("sweep", {**BRIDGE, "keep": [f"bgr{A:012x}"]})
    assert kept == {"removed": [f"bgr{B:012x}"]}
    left = sh("nft", "list", "ruleset")
    assert f"bgr{A:012x}" in left
    assert f"bgr{B:012x}" not in left
    assert do("sweep", {**BRIDGE, "keep": [f"bgr{A:012x}"]}) == {"removed": []}
    # Another banger's sweep leaves them alone
    other = {**BRIDGE, "owner": "0-ffffffffffff", "bridge": "banger1"}
    assert do("sweep", {**other, "keep": []}) == {"removed": []}
    assert do("sweep", {**BRIDGE, "keep": []})["removed"] == [f"bgr{A:012x}", "banger0"]
    assert everything() == before
    # Of a crash before there was a tap
    interfaces.make_bridge(read_bridge(BRIDGE, None))
    assert do("sweep", {**BRIDGE, "keep": []})["removed"] == ["banger0"]
    assert everything() == before


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("link add banger0 type bridge", "it is a bridge"),
        ("link add banger0 type veth peer name other", "it is a veth"),
    ],
)
def test_nobody_elses_interface_is_touched(host, do, line, cause):
    sh("ip", *line.split())
    before = everything()
    for operation, asked in (
        ("check", BRIDGE),
        ("connect", port(A)),
    ):
        with pytest.raises(Refused, match="not this banger's") as problem:
            do(operation, asked)
        assert problem.value.kind == "conflict"
        assert cause in problem.value.cause
        assert everything() == before
    # What could not be connected can be disconnected
    do("disconnect", port(A))
    do("sweep", {**BRIDGE, "keep": []})
    assert everything() == before


def test_another_bangers_bridge_is_said_so(host, do):
    do("connect", port(A))
    with pytest.raises(Refused, match="not this banger's") as problem:
        do("connect", port(B, owner="0-ffffffffffff"))
    assert "banger 0-0123456789ab" in problem.value.cause
    there = everything()
    do("disconnect", port(B, owner="0-ffffffffffff"))
    do("disconnect", port(A, owner="0-ffffffffffff"))
    do("sweep", {**BRIDGE, "owner": "0-ffffffffffff", "keep": []})
    assert everything() == there
    do("disconnect", port(A))


@pytest.mark.parametrize(
    ("route", "taken"),
    [
        ("-4 route add 10.201.0.128/25 via 198.51.100.2", "10.201.0.0/24"),
        ("-4 route add 10.0.0.0/8 via 198.51.100.2", "10.201.0.0/24"),
        ("-4 address add 10.201.0.9/32 dev wan", "10.201.0.0/24"),
        ("-4 route add unreachable 10.201.0.0/16", "10.201.0.0/24"),
        ("-6 route add fd62:616e::/32 via 2001:db8::2", "fd62:616e:6765:7201::/64"),
    ],
)
def test_a_subnet_that_is_somebody_elses(host, do, route, taken):
    sh("ip", *route.split())
    before = everything()
    for operation, asked in (("check", BRIDGE), ("connect", port(A))):
        with pytest.raises(Refused, match=f"the subnet {taken} is taken on this host") as problem:
            do(operation, asked)
        assert problem.value.kind == "conflict"
    assert everything() == before


def test_no_forwarding_no_way_out(host, do):
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    before = everything()
    for operation in ("check", "connect"):
        with pytest.raises(Refused, match="forwards no packets") as problem:
            do(operation, port(A, outbound=True))
        assert problem.value.hints[0] == "sudo sysctl -w net.ipv4.ip_forward=1"
    assert everything() == before
    do("check", port(A))


def test_remarks_on_firewalls_that_drop(host, do):
    sh("nft", "add table ip filter")
    hook = "type filter hook forward priority 0; policy drop;"
    sh("nft", f"add chain ip filter FORWARD {{ {hook} }}")
    remarks = do("check", BRIDGE)["remarks"]
    messages = [each["message"] for each in remarks]
    assert "the firewall drops what this host forwards (chain ip filter FORWARD)" in messages
    assert remarks[0]["fix"].startswith("sudo iptables -I FORWARD -i banger0 -j ACCEPT")


@pytest.mark.parametrize(
    "changes",
    [
        {"bridge": "eth 0"},
        {"bridge": "x" * 16},
        {"bridge": "banger0; flush ruleset"},
        {"owner": "0"},
        {"owner": None},
        {"gateway": "8.8.8.1/24"},
        {"gateway": "10.0.0.1/8"},
        {"gateway": "10.201.0.1"},
        {"gateway": "fd62::1/64"},
        {"gateway6": "2001:db8::1/64"},
        {"gateway6": "10.201.0.1/24"},
        {"tap": "eth0"},
        {"tap": "bgr00000000000G"},
        {"tap": 'bgr" ; flush ruleset'},
        {"mac": "00:00:00:00:00:01"},
        {"mac": "52:54:00:00:00:0g"},
        {"address": "10.202.0.5/24"},
        {"address": "10.201.0.1/24"},
        {"address": "10.201.0.255/24"},
        {"address": "10.201.0.5/16"},
        {"address": ["10.201.0.5/24"]},
        {"address6": "fd63::5/64"},
        {"links": "bgr000000000001"},
        {"links": ["eth0"]},
        {"links": [7]},
        {"links": ["bgr000000000001"] * 5000},
    ],
)
def test_what_is_no_argument(changes):
    asked = port(A, **changes)
    with pytest.raises(Refused) as problem:
        read_port(asked, read_bridge(asked, None))
    assert problem.value.kind == "usage"


def test_users_ask_for_themselves():
    mine = {**BRIDGE, "owner": "1000-0123456789ab"}
    assert read_bridge(mine, 1000).owner == mine["owner"]
    with pytest.raises(Refused, match="another user's"):
        read_bridge(mine, 1001)
    with pytest.raises(Refused, match="another user's"):
        read_bridge(BRIDGE, 1000)
    asked = port(A, owner="1000-0123456789ab")
    assert read_port(asked, read_bridge(asked, 1000)).uid == 1000


def helper(*arguments, stdin=b"", **env):
    done = subprocess.run(
        [sys.executable, "-I", "-m", "banger_bridge.helper", *arguments],
        input=stdin,
        capture_output=True,
        check=True,
        env=env,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "stdin", "summary"),
    [
        ((), b"{}", USAGE),
        (("flush",), b"{}", USAGE),
        (("check", "check"), b"{}", "usage: "),
        (("check",), b"", "stdin is not a JSON object"),
        (("check",), b"[]", "stdin is not a JSON object"),
        (("check",), b" " * 70000 + b"{}", "stdin is not a JSON object"),
    ],
)
def test_the_program_refuses(arguments, stdin, summary):
    answer = helper(*arguments, stdin=stdin)
    assert answer["refused"] == "usage"
    assert answer["summary"].startswith(summary)


def test_through_sudo_it_acts_for_who_called_it(host):
    answer = helper("check", stdin=json.dumps(BRIDGE).encode(), SUDO_UID="1000")
    assert answer["summary"] == "a bridge of another user's"
    assert "remarks" in helper("check", stdin=json.dumps(BRIDGE).encode(), SUDO_UID="0")


def test_it_keeps_one_capability_and_works(host):
    before = everything()
    assert helper("connect", stdin=json.dumps(port(A)).encode()) == {}
    assert helper("disconnect", stdin=json.dumps(port(A)).encode()) == {}
    assert everything() == before
    script = (
        "from banger_bridge.helper.capabilities import *; keep_net_admin();"
        "import subprocess; print(subprocess.run(['grep', '-E', 'Cap(Prm|Eff|Bnd)|NoNewPrivs',"
        " '/proc/self/status'], capture_output=True, text=True).stdout)"
    )
    said = sh(sys.executable, "-I", "-c", script).split()
    assert said[1::2] == ["0000000000001000"] * 3 + ["1"]
