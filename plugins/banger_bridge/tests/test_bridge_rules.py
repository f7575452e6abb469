"""The rules as text."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from bridge_space import BRIDGE, port, sh

from banger_bridge.helper import rules
from banger_bridge.helper.checks import read_bridge, read_port

GOLDEN = Path(__file__).parent / "golden"
MAKE = {
    "connect.nft": rules.connect,
    "change.nft": lambda bridge, port: (
        rules.tables(bridge) + rules.change(bridge, port, ["bgr000000000006", "bgr000000000007"])
    ),
    "disconnect.nft": rules.disconnect,
    "remove.nft": lambda bridge, _: rules.remove(bridge),
}


def make(name, **changes):
    asked = port(5, **changes)
    bridge = read_bridge(asked, None)
    return MAKE[name](bridge, read_port(asked, bridge))


@pytest.mark.parametrize("name", MAKE)
def test_golden(name):
    links = ["bgr000000000006"]
    text = make(name, links=links, outbound=True, host_access=True)
    assert text == (GOLDEN / name).read_text()


def test_without_ipv6_there_are_no_rules_about_it():
    text = make("connect.nft", gateway6="", address6="")
    assert "fd62" not in text
    assert "nat hook postrouting" in text
    assert "bgr000000000005 ether type ip6 drop" in text


def test_nothing_is_allowed_that_was_not_asked_for():
    last = make("connect.nft").rpartition("delete counter")[2]
    for granted in ("outbound {", "to_host {", "links {"):
        assert f"add element inet banger-banger0 {granted}" not in last
        assert f"add element bridge banger-banger0 {granted}" not in last


@pytest.mark.parametrize("name", MAKE)
def test_every_line_is_about_tables_of_bangers_own(name):
    for line in make(name, links=["bgr000000000006"]).splitlines():
        words = line.split()
        assert words[0] in ("add", "delete", "flush"), line
        assert words[1] in ("table", "set", "map", "counter", "chain", "rule", "element"), line
        assert words[2] in ("bridge", "inet"), line
        assert words[3] == "banger-banger0", line


@pytest.mark.parametrize("changes", [{}, {"gateway6": "", "address6": ""}])
def test_nftables_takes_them(host, changes):
    for name in MAKE:
        sh("nft", "-c", "-f", "-", stdin=make(name, **changes))


def test_metadata_addresses_are_networks():
    assert [ip_network(each).version for each in rules.METADATA4] == [4] * 4
    assert [ip_network(each).version for each in rules.METADATA6] == [6] * 3
    assert read_bridge(BRIDGE, None).table == "banger-banger0"
