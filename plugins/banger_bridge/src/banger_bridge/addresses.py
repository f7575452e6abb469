"""Who gets which address: decided by the VM's id, the same every time that it is free."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from banger_core.api import HostNotReady, NetPlan

RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""Where a host says whom it asks for names. The first may name only a resolver of its own; then
systemd-resolved's names those behind it.
"""


def tap_name(vm_id: str) -> str:
    """Return the name of a VM's tap: 15 bytes, the most that Linux takes."""
    return f"bgr{vm_id}"


def is_tap(name: str) -> bool:
    """Say whether an interface is called as a VM's tap is."""
    return re.fullmatch(r"bgr[0-9a-f]{12}", name) is not None


def offset(vm_id: str, subnet: IPv4Network, taken: Iterable[NetPlan]) -> int:
    """Return a place in ``subnet`` that no plan of ``taken`` has, after the host's own.

    Raises HostNotReady when there is none.
    """
    used = {
        IPv4Interface(plan.guest_address).ip for plan in taken if plan.guest_address and plan.tap
    }
    # Not the network itself, the gateway and broadcasts to all
    places = subnet.num_addresses - 3
    first = int.from_bytes(hashlib.sha256(vm_id.encode()).digest()[:8]) % places
    for step in range(places):
        place = 2 + (first + step) % places
        if subnet[place] not in used:
            return place
    raise HostNotReady(
        f"no address of {subnet} is free",
        cause=f"{places} VMs have one",
        hints=["banger vm list", "choose a larger [plugins.bridge] subnet: banger config path"],
    )


def mac_address(address: IPv4Address) -> str:
    """Return the hardware address of the VM that has ``address``."""
    return "52:54:" + address.packed.hex(":")


def gateways(settings: Mapping[str, Any]) -> tuple[str, str]:
    """Return this host's own addresses on the bridge, with prefixes; the second may be empty."""
    subnet = IPv4Network(settings["subnet"])
    gateway = f"{subnet[1]}/{subnet.prefixlen}"
    if not settings["subnet6"]:
        return gateway, ""
    subnet6 = IPv6Network(settings["subnet6"])
    return gateway, f"{subnet6[1]}/{subnet6.prefixlen}"


def nameserver(settings: Mapping[str, Any], files: Iterable[Path] = RESOLVER_FILES) -> str:
    """Return whom guests ask for names: the configured one, else the first that this host asks
    and that is not the host itself; empty where there is none.
    """
    if settings["nameserver"]:
        return str(settings["nameserver"])
    for file in files:
        with suppress(OSError):
            for line in file.read_text(errors="replace").splitlines():
                words = line.split()
                if words[:1] == ["nameserver"] and len(words) > 1:
                    with suppress(AddressValueError):
                        found = IPv4Address(words[1])
                        if not found.is_loopback and not found.is_unspecified:
                            return str(found)
    return ""
