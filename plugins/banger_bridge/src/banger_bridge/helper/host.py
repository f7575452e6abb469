"""What of this host stands in the way."""

from __future__ import annotations

import json
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from banger_bridge.helper.checks import Bridge, Refused
from banger_bridge.helper.commands import ip_json, run

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
FORWARDING6 = Path("/proc/sys/net/ipv6/conf/all/forwarding")
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def check_subnets(bridge: Bridge) -> None:
    """Raise Refused when a route of this host leads into a subnet of ``bridge``."""
    wanted = [bridge.gateway.network]
    for route in ip_json("-4", "route", "show", "table", "all"):
        _check_apart(bridge, wanted, route)
    if bridge.gateway6 is not None:
        for route in ip_json("-6", "route", "show", "table", "all"):
            _check_apart(bridge, [bridge.gateway6.network], route)


def _check_apart(bridge: Bridge, wanted: list[Any], route: dict[str, Any]) -> None:
    if route.get("dev") == bridge.name or route.get("type") == "multicast":
        return
    try:
        there = ip_network(route["dst"])
    except (KeyError, ValueError):
        return
    for subnet in wanted:
        if there.version == subnet.version and there.prefixlen and there.overlaps(subnet):
            raise taken(str(subnet), f"{there} is reached through {route.get('dev', 'a route')}")


def taken(subnet: str, cause: str) -> Refused:
    """Return the refusal of a subnet that is somebody else's."""
    key = "subnet6" if ":" in subnet else "subnet"
    return Refused(
        f"the subnet {subnet} is taken on this host",
        cause=cause,
        hints=(f"choose another [plugins.bridge] {key}: banger config path", "ip route"),
        kind="conflict",
    )


def check_forwarding() -> None:
    """Raise Refused when this host forwards nothing, so that nobody has a way out."""
    if _read(FORWARDING) != "1":
        raise Refused(
            "this host forwards no packets, so its VMs have no way out",
            cause="net.ipv4.ip_forward is 0",
            hints=("sudo sysctl -w net.ipv4.ip_forward=1", "--no-nat"),
            kind="host",
        )


def remarks(bridge: Bridge) -> list[dict[str, str]]:
    """Return what may stand in the way of packets, as messages with why and a command each."""
    found = []
    dropping = dropping_chains(bridge)
    bridged = _read(BRIDGE_FILTER) == "1"
    for chain in dropping:
        family = "ip6tables" if chain.startswith("ip6 ") else "iptables"
        where = "DOCKER-USER" if chain.endswith("FORWARD") and _docker() else "FORWARD"
        found.append(
            {
                "message": f"the firewall drops what this host forwards (chain {chain})",
                "why": "VMs with a way out need it"
                + (", and linked ones, for net.bridge.bridge-nf-call-iptables is 1" * bridged),
                "fix": f"sudo {family} -I {where} -i {bridge.name} -j ACCEPT && sudo {family} -I "
                f"{where} -o {bridge.name} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            }
        )
    if bridge.gateway6 is not None and _read(FORWARDING6) == "0":
        found.append(
            {
                "message": "this host forwards no IPv6 packets",
                "why": "VMs with a way out have it in IPv4 only",
                "fix": "sudo sysctl -w net.ipv6.conf.all.forwarding=1",
            }
        )
    return found


def dropping_chains(bridge: Bridge) -> list[str]:
    """Return the chains, not banger's, that drop forwarded packets unless told otherwise."""
    listed = json.loads(run("nft", "-json", "list", "chains"))["nftables"]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in (each["chain"] for each in listed if "chain" in each)
        if chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and chain["table"] != bridge.table
    ]


def _docker() -> bool:
    return Path("/sys/class/net/docker0").exists()


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
