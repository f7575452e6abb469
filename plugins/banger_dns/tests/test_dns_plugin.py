"""The plugin as the core sees it."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace

import pytest
from pydantic import ValidationError

from banger_core.testing.contracts import (
    DoctorCheckContract,
    NetworkAttachmentContract,
    ServiceContract,
)
from banger_dns.attachment import Names
from banger_dns.book import Book
from banger_dns.doctor import DnsCheck
from banger_dns.service import DnsService
from banger_dns.settings import DnsSettings
from banger_dns.wiring.journal import Wiring


def test_declarations_are_used_as_they_are(fresh_registry):
    registry = fresh_registry("banger_dns.plugin")
    (plugin,) = registry.plugins()
    assert plugin.status == "ok", plugin.error
    assert registry.network_attachments.names() == ["dns"]
    assert registry.services.load("dns")
    assert registry.doctor_checks.load("dns")
    assert registry.settings.load("dns") is DnsSettings
    assert registry.commands.load("dns").members.keys() >= {"list"}


class TestNames(NetworkAttachmentContract):
    make = Names

    def traces(self, cx):
        return [name.to_json() for name in Book(cx.state_dir).read()]


class TestDnsService(ServiceContract):
    make = DnsService
    questions = ("list", "status")

    @pytest.fixture
    def cx(self, house):
        return house.cx


class TestDnsCheck(DoctorCheckContract):
    make = DnsCheck

    @pytest.fixture
    def cx(self, house):
        return house.cx


def found(house):
    return {each.subject: each for each in asyncio.run(DnsCheck().check(house.cx))}


def test_doctor_sees_the_port(house):
    assert found(house)["dns"].message.endswith("is free for names")
    with socket.create_server(("127.0.0.1", house.port)):
        taken = found(house)["dns"]
        assert (taken.level, f"(pid {os.getpid()})" in taken.why) == ("warn", True)
        assert taken.fix.startswith("sudo ss ")
    house.tend()
    house.ask("status")
    assert "are served" in found(house)["dns"].message
    house.cx._settings["responder"] = False
    assert "switched off" in found(house)["dns"].message


def test_doctor_sees_a_wiring_that_was_cut_short(house):
    wiring = Wiring(resolver="dnsmasq", server="127.0.0.1 port 53", steps=())
    for done, wanted in ((False, ["banger dns unwire"]), (True, [])):
        replace(wiring, done=done).write(house.cx.state_dir)
        findings = asyncio.run(DnsCheck().check(house.cx))
        assert [each.fix for each in findings if each.level == "warn"] == wanted


def test_doctor_sees_mapdns(house, tmp_path):
    program = tmp_path / "mapdns"
    program.write_text("")
    program.chmod(0o755)
    assert "mapdns" not in found(house)
    house.cx._settings["mapdns_bin"] = str(program)
    assert "mapdns_data_file" in found(house)["mapdns"].fix
    house.cx._settings["mapdns_data_file"] = str(tmp_path / "m.json")
    assert found(house)["mapdns"].level == "pass"
    house.cx._settings["mapdns_bin"] = "no-such-program"
    assert found(house)["mapdns"].level == "warn"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"address": "192.0.2.1"}, "expose = true"),
        ({"address": "0.0.0.0", "expose": True}, "one address of this host"),
        ({"address": "localhost"}, "does not appear to be an IPv4 or IPv6 address"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"reverse": ["10.0.0.0/9"]}, "multiple of 8"),
        ({"mapdns_data_file": "here.json"}, "absolute"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be(given, said):
    with pytest.raises(ValidationError, match=said):
        DnsSettings.model_validate(given)


def test_settings_that_can(monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    made = DnsSettings.model_validate(
        {"address": "192.0.2.1", "expose": True, "mapdns_data_file": "~/m.json"}
    )
    assert made.mapdns_data_file == "/home/x/m.json"
    assert DnsSettings(address="0:0::1").address == "::1"
