"""Whom the tables know: what there is to remove when nobody else remembers."""

from __future__ import annotations

import json
from typing import Any

from banger_bridge.helper.checks import Bridge, Port, Refused
from banger_bridge.helper.commands import run


def remembered(bridge: Bridge) -> list[Port]:
    """Return the VMs in the tables of ``bridge``, as far as removing them needs to know them."""
    try:
        macs = {
            str(counter).removesuffix("-host"): str(mac)
            for mac, counter in _elements(bridge, "map", "inet", "drops_host")
        }
        pairs = [each["concat"] for each in _elements(bridge, "set", "bridge", "links")]
    except Refused:
        # No tables, so nobody
        return []
    return [
        Port(
            tap=tap,
            uid=0,
            mac=mac,
            address=bridge.gateway,
            address6=None,
            links=tuple({name for pair in pairs if tap in pair for name in pair} - {tap}),
        )
        for tap, mac in macs.items()
    ]


def _elements(bridge: Bridge, kind: str, family: str, name: str) -> list[Any]:
    listed = json.loads(run("nft", "-json", "list", kind, family, bridge.table, name))
    (found,) = (row[kind] for row in listed["nftables"] if kind in row)
    return list(found.get("elem", []))
