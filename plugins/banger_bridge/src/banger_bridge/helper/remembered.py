"""Whom the tables know: what there is to remove when nobody else remembers."""

from __future__ import annotations

import json
from typing import Any

from banger_bridge.helper.checks import Bridge, Port, Refused
from banger_bridge.helper.commands import run


def remembered(bridge: Bridge) -> list[Port]:
    """Return the VMs in the tables of ``bridge``, as far as removing them needs to know them."""
    macs = {
        str(counter).removesuffix("-host"): str(mac)
        for mac, counter in _elements(bridge, "map", "inet", "drops_host")
    }
    return [
        Port(tap=tap, uid=0, mac=mac, address=bridge.gateway, address6=None)
        for tap, mac in macs.items()
    ]


def connected(bridge: Bridge) -> set[str]:
    """Return the taps that are behind the walls of ``bridge``."""
    return {str(each) for each in _elements(bridge, "set", "bridge", "taps")}


def linked(bridge: Bridge, tap: str) -> tuple[str, ...]:
    """Return the taps that ``tap`` is linked with."""
    pairs = [each["concat"] for each in _elements(bridge, "set", "bridge", "links")]
    found = {str(name) for pair in pairs if tap in pair for name in pair} - {tap}
    return tuple(sorted(found))


def _elements(bridge: Bridge, kind: str, family: str, name: str) -> list[Any]:
    """What is in a set or map; nothing where there are no tables."""
    try:
        listed = json.loads(run("nft", "-json", "list", kind, family, bridge.table, name))
    except Refused:
        return []
    (found,) = (row[kind] for row in listed["nftables"] if kind in row)
    return list(found.get("elem", []))
