"""The network: its plans, its contract, its settings, and how it comes by its rights."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import json
import shlex
import sys
from pathlib import Path

import pytest
from bridge_space import everything, sh
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from banger_bridge import access
from banger_bridge.addresses import nameserver, offset
from banger_bridge.doctor import BridgeCheck
from banger_bridge.helper import __main__ as helper_main
from banger_bridge.helper import commands
from banger_bridge.network import BridgeNetwork
from banger_bridge.settings import BridgeSettings
from banger_core.api import (
    Conflict,
    HostNotReady,
    NetPlan,
    Publish,
    UsageProblem,
    VmRequest,
    install_command,
)
from banger_core.jsonable import to_json
from banger_core.testing.context import FakeContext
from banger_core.testing.contracts import DoctorCheckContract, NetworkContract, SettingsContract

VM = "0123456789ab"
SETTINGS = BridgeSettings(nameserver="192.0.2.53").model_dump()


def plan(vm_id=VM, taken=(), settings=SETTINGS, **request):
    return BridgeNetwork().plan(vm_id, VmRequest(**request), taken, settings)


@pytest.fixture
def cx(tmp_path):
    return FakeContext(tmp_path, SETTINGS)


class TestBridgeNetwork(NetworkContract):
    make = BridgeNetwork
    settings = SETTINGS

    @pytest.fixture
    def cx(self, host, tmp_path):
        return FakeContext(tmp_path, SETTINGS)


class TestBridgeSettings(SettingsContract):
    make = BridgeSettings


class TestBridgeCheck(DoctorCheckContract):
    make = BridgeCheck

    @pytest.fixture
    def cx(self, host, tmp_path):
        return FakeContext(tmp_path, SETTINGS)


def test_a_plan_in_full():
    assert plan() == NetPlan(
        network="bridge",
        kind="tap",
        mac="52:54:0a:c9:00:7c",
        guest_address="10.201.0.124/24",
        gateway="10.201.0.1",
        nameserver="192.0.2.53",
        guest_address6="fd62:616e:6765:7201::7c/64",
        gateway6="fd62:616e:6765:7201::1",
        tap="bgr0123456789ab",
        bridge="banger0",
        outbound=False,
    )
    asked = plan(nat=True, host_access=True)
    assert (asked.outbound, asked.host_access) == (True, True)
    assert plan(settings={**SETTINGS, "nat": True}).outbound
    assert not plan(settings={**SETTINGS, "nat": True}, nat=False).outbound
    four = plan(settings={**SETTINGS, "subnet6": ""})
    assert (four.guest_address6, four.gateway6) == ("", "")
    assert four.ssh == ("10.201.0.124", 1022)


@given(st.text("0123456789abcdef", min_size=12, max_size=12), st.integers(16, 29))
def test_addresses_are_for_hosts(vm_id, prefix):
    subnet = ipaddress.ip_network((int(ipaddress.ip_address("10.9.0.0")), prefix))
    place = offset(vm_id, subnet, [])
    assert place == offset(vm_id, subnet, [])
    assert subnet[place] not in (subnet[0], subnet[1], subnet[-1])


def test_a_full_subnet_is_said_so():
    settings = {**SETTINGS, "subnet": "10.9.0.0/29"}
    taken = []
    for number in range(5):
        taken.append(plan(f"{number:012x}", taken, settings))
    assert len({each.guest_address for each in taken}) == 5
    with pytest.raises(HostNotReady, match=r"no address of 10\.9\.0\.0/29 is free"):
        plan(VM, taken, settings)


def test_ports_are_not_published():
    with pytest.raises(UsageProblem, match="publishes no ports"):
        plan(publish=(Publish(host_port=80, guest_port=80),))


@pytest.mark.parametrize(
    ("text", "other", "found"),
    [
        ("nameserver 192.0.2.7\nnameserver 192.0.2.8\n", "", "192.0.2.7"),
        ("nameserver ::1\nnameserver 127.0.0.53\n", "nameserver 192.0.2.9 # x\n", "192.0.2.9"),
        ("# nameserver 192.0.2.7\nsearch x\nnameserver\nnameserver 0.0.0.0\n", "", ""),
    ],
)
def test_whom_guests_ask_for_names(tmp_path, text, other, found):
    files = [tmp_path / "one", tmp_path / "two"]
    for file, content in zip(files, (text, other), strict=True):
        file.write_text(content)
    unset = {**SETTINGS, "nameserver": ""}
    assert nameserver(unset, [*files, tmp_path / "missing"]) == found
    assert nameserver(SETTINGS, files) == "192.0.2.53"


@pytest.mark.parametrize(
    "given_settings",
    [
        {"subnet": "8.8.8.0/24"},
        {"subnet": "10.0.0.0/8"},
        {"subnet": "10.1.2.3/24"},
        {"subnet6": "2001:db8::/64"},
        {"subnet6": "fd00::/120"},
        {"bridge": "br 0"},
        {"bridge": "a-name-that-is-too-long"},
        {"nameserver": "dns.example"},
        {"colour": "red"},
    ],
)
def test_settings_that_cannot_be(given_settings):
    with pytest.raises(ValidationError):
        BridgeSettings(**given_settings)


def test_settings_as_they_are_given_on():
    dumped = BridgeSettings(subnet6="", command=["doas", "helper"]).model_dump()
    assert dumped == {
        "bridge": "banger0",
        "subnet": "10.201.0.0/24",
        "subnet6": "",
        "nat": False,
        "nameserver": "",
        "command": ("doas", "helper"),
    }


# --- rights ----------------------------------------------------------------------------------


def test_rights_of_ones_own_are_used(monkeypatch):
    own = [sys.executable, "-I", "-m", "banger_bridge.helper"]
    monkeypatch.setattr(access, "has_net_admin", lambda: True)
    assert access.helper_command({}) == own
    monkeypatch.setattr(access, "has_net_admin", lambda: False)
    assert access.helper_command({}) == ["sudo", "-n", *own]
    assert access.helper_command({"command": ("doas", "/x")}) == ["doas", "/x"]


def program(tmp_path, text):
    path = tmp_path / "helper"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def check_with(tmp_path, command):
    cx = FakeContext(tmp_path / "cx", {**SETTINGS, "command": command})
    return asyncio.run(BridgeNetwork().check(VmRequest(), cx))


def test_no_right_is_said_before_anything_is_made(tmp_path, monkeypatch):
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\necho "sudo: a password is required" >&2; exit 1\n')
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(HostNotReady, match="no right to make networks") as problem:
        check_with(tmp_path, ("sudo", "-n", "banger-bridge-helper"))
    assert problem.value.cause.endswith("sudo: a password is required")
    assert problem.value.hints[0] == "--network user"
    assert "let sudo run banger-bridge-helper" in problem.value.hints[1]


@pytest.mark.parametrize("text", ["exit 1", "echo nonsense", "true"])
def test_a_helper_that_does_not_work(tmp_path, text):
    with pytest.raises(HostNotReady, match="the helper that makes networks does not work"):
        check_with(tmp_path, (str(program(tmp_path, text)),))


def test_a_program_that_the_helper_lacks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(helper_main, "keep_net_admin", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
    monkeypatch.setattr(helper_main, "_work", lambda *_: commands.run("nft-of-nobody", "-f", "-"))
    helper_main.main()
    (tmp_path / "answer").write_text(capsys.readouterr().out)
    with pytest.raises(HostNotReady, match="nft-of-nobody is not installed") as problem:
        check_with(tmp_path, (str(program(tmp_path, f"cat {tmp_path}/answer")),))
    assert problem.value.hints == (install_command("nft-of-nobody"),)


def test_what_the_helper_is_asked(tmp_path, cx):
    seen = tmp_path / "seen"
    helper = program(tmp_path, f"(echo $1; cat) >{shlex.quote(str(seen))}; echo '{{}}'")
    cx = FakeContext(tmp_path / "cx", {**SETTINGS, "command": (str(helper),)})
    asyncio.run(BridgeNetwork().up(plan(nat=True), cx))
    operation, asked = seen.read_text().split("\n", 1)
    assert operation == "connect"
    assert json.loads(asked) == {
        "owner": access.owner(cx),
        "bridge": "banger0",
        "gateway": "10.201.0.1/24",
        "gateway6": "fd62:616e:6765:7201::1/64",
        "tap": "bgr0123456789ab",
        "mac": "52:54:0a:c9:00:7c",
        "address": "10.201.0.124/24",
        "address6": "fd62:616e:6765:7201::7c/64",
        "outbound": True,
        "host_access": False,
        "links": [],
    }


def test_the_helper_holds_and_releases(tmp_path):
    seen = tmp_path / "seen"
    helper = program(tmp_path, f"(echo $1; cat) >{shlex.quote(str(seen))}; echo '{{}}'")
    cx = FakeContext(tmp_path / "cx", {**SETTINGS, "command": (str(helper),)})
    for work, on in ((BridgeNetwork().hold, False), (BridgeNetwork().release, True)):
        asyncio.run(work(plan(), cx))
        operation, asked = seen.read_text().split("\n", 1)
        assert operation == "switch"
        assert json.loads(asked)["on"] is on
        assert json.loads(asked)["tap"] == "bgr0123456789ab"


# --- on a host --------------------------------------------------------------------------------


def test_dockers_networks_are_somebody_elses(host, cx, tmp_path, monkeypatch):
    networks = [
        {"Name": "host", "IPAM": {"Config": None}},
        {"Name": "shop_default", "IPAM": {"Config": [{"Subnet": "10.201.0.0/16"}]}},
    ]
    docker = tmp_path / "docker"
    docker.write_text(
        f"#!/bin/sh\n[ $2 = ls ] && echo 1 2 || echo {shlex.quote(json.dumps(networks))}\n"
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    with pytest.raises(Conflict, match=r"the subnet 10\.201\.0\.0/24 is taken") as problem:
        asyncio.run(BridgeNetwork().check(VmRequest(), cx))
    assert problem.value.cause == "Docker's network shop_default has 10.201.0.0/16"
    docker.write_text("#!/bin/sh\necho is the docker daemon running? >&2; exit 1\n")
    asyncio.run(BridgeNetwork().check(VmRequest(), cx))


def test_sweep_asks_only_when_there_is_something(host, cx, caplog):
    network, before = BridgeNetwork(), everything()

    async def life():
        await network.sweep([], cx)
        await network.up(plan(), cx)
        await network.sweep([VM], cx)
        assert "bgr0123456789ab" in sh("ip", "link")
        assert not caplog.records
        await network.sweep(["ba9876543210"], cx)

    asyncio.run(life())
    assert everything() == before
    assert "removed bgr0123456789ab" in caplog.text


def test_the_doctor_says_what_was_kept_back(host, cx, monkeypatch):
    async def life():
        await BridgeNetwork().up(plan(), cx)
        counted = {"bgr0123456789ab-spoofed": {"packets": 3, "bytes": 200}}
        real = access.ask

        async def ask(operation, *arguments, **more):
            if operation == "counters":
                return {"counters": counted}
            return await real(operation, *arguments, **more)

        monkeypatch.setattr("banger_bridge.doctor.ask", ask)
        try:
            return await BridgeCheck().check(cx)
        finally:
            await BridgeNetwork().down(plan(), cx)

    messages = [finding.message for finding in asyncio.run(life())]
    assert messages[-2:] == [
        "banger0 can be made",
        "VM 0123456789ab: 3 packets dropped, sent as somebody else",
    ]


def test_the_doctor_names_what_helps(host, tmp_path):
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    cx = FakeContext(tmp_path, {**SETTINGS, "nat": True})
    (finding,) = asyncio.run(BridgeCheck().check(cx))
    assert (finding.level, finding.fix) == ("warn", "sudo sysctl -w net.ipv4.ip_forward=1")
    assert to_json(finding)["subject"] == "bridge"
