"""The bridge and the taps on it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from banger_bridge.helper.checks import Bridge, Port, Refused
from banger_bridge.helper.commands import ip_batch, ip_json

_SETTINGS = Path("/proc/sys/net")


def find(name: str) -> dict[str, Any] | None:
    """Return what ``ip`` knows of an interface, None where there is none of that name."""
    return next(
        (each for each in ip_json("-details", "link", "show") if each["ifname"] == name), None
    )


def ports(bridge: Bridge) -> set[str]:
    """Return the names of the interfaces on ``bridge``."""
    return {each["ifname"] for each in ip_json("link", "show") if each.get("master") == bridge.name}


def is_strange(bridge: Bridge) -> str:
    """Say whose the interface is that is called as ``bridge``; empty when there is none, or when
    it is the bridge.
    """
    found = find(bridge.name)
    if found is None:
        return ""
    mark, kind = found.get("ifalias"), _kind(found)
    # Without a mark it was left half made
    if kind == "bridge" and (mark or found["address"]) in (bridge.mark, bridge.mac):
        return ""
    return f"{mark!r}" if mark else f"a {kind or 'network card'}"


def check_bridge(bridge: Bridge) -> None:
    """Raise Refused for an interface of somebody else's with its name."""
    if whose := is_strange(bridge):
        raise Refused(
            f"there is an interface {bridge.name} already, and it is not this banger's",
            cause=f"it is {whose}, not {bridge.mark!r}",
            hints=("choose another [plugins.bridge] bridge and subnet: banger config path",),
            kind="conflict",
        )


def make_bridge(bridge: Bridge) -> None:
    """Make the bridge, or complete one that was left half made."""
    name = bridge.name
    lines = []
    check_bridge(bridge)
    if not find(name):
        kind = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        lines.append(f"link add name {name} address {bridge.mac} {kind}")
    lines.append(f'link set dev {name} alias "{bridge.mark}"')
    ip_batch(lines)
    # This host takes neither addresses nor routes from its guests
    for setting in ("accept_ra", "autoconf"):
        _set(f"ipv6/conf/{name}/{setting}", "0")
    addresses = [f"address replace {bridge.gateway} dev {name}"]
    if bridge.gateway6 is not None and has_ipv6(name):
        addresses.append(f"address replace {bridge.gateway6} dev {name} nodad")
    ip_batch([*addresses, f"link set dev {name} up"])


def has_ipv6(name: str = "default") -> bool:
    """Say whether this host does IPv6 there."""
    with suppress(OSError):
        return (_SETTINGS / f"ipv6/conf/{name}/disable_ipv6").read_text().strip() == "0"
    return False


def make_tap(bridge: Bridge, port: Port) -> None:
    """Make the tap, which its user may open, and put it on the bridge."""
    tap, there = port.tap, find(port.tap) is not None
    if there and tap not in taps(bridge, half_made=True):
        raise Refused(f"the interface {tap} is not this banger's", kind="conflict")
    lines = [] if there else [f"tuntap add dev {tap} mode tap user {port.uid}"]
    ip_batch([*lines, f'link set dev {tap} alias "{bridge.mark}"'])
    _set(f"ipv6/conf/{tap}/disable_ipv6", "1")
    ip_batch([f"link set dev {tap} master {bridge.name}", f"link set dev {tap} up"])


def switch_tap(tap: str, *, on: bool) -> None:
    """Set a tap up or down."""
    ip_batch([f"link set dev {tap} {'up' if on else 'down'}"])


def remove_tap(tap: str) -> None:
    """Remove a tap."""
    ip_batch([f"link delete dev {tap}"])


def remove_bridge(bridge: Bridge) -> None:
    """Remove the bridge; one that is not there is fine."""
    if find(bridge.name):
        ip_batch([f"link delete dev {bridge.name} type bridge"])


def taps(bridge: Bridge, *, half_made: bool = False) -> set[str]:
    """Return the taps that carry the mark of ``bridge``'s owner, wherever they are; with
    ``half_made`` also those that carry none yet.
    """
    marks = {bridge.mark, None} if half_made else {bridge.mark}
    return {
        each["ifname"]
        for each in ip_json("-details", "link", "show")
        if re.fullmatch(r"bgr[0-9a-f]{12}", each["ifname"])
        and _kind(each) == "tun"
        and each.get("ifalias") in marks
    }


def _kind(found: dict[str, Any]) -> str:
    return str(found.get("linkinfo", {}).get("info_kind", ""))


def _set(name: str, value: str) -> None:
    """Set what the kernel has below /proc/sys/net; where IPv6 is not there it needs no setting."""
    with suppress(FileNotFoundError):
        (_SETTINGS / name).write_text(value)
