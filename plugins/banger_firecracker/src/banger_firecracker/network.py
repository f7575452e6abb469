"""How a VM is connected: its own network namespace for the kind ``user``, a tap of somebody else's
for the kind ``tap``.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

from banger_core.api import (
    Context,
    Fence,
    Forward,
    LaunchSpec,
    NetPlan,
    UsageProblem,
    fence_filter,
    packed_filter,
)
from banger_firecracker.host.options import Network
from banger_firecracker.machines import find_slirp


def describe(net: NetPlan) -> dict[str, Any] | None:
    """Return, as JSON has it, the VM's own network namespace; None when it has none. Pure.

    Raises UsageProblem for a plan that cannot be connected.
    """
    if net.kind != "user":
        return None
    guest = ip_interface(net.guest_address)
    network = guest.network
    way_out = net.outbound or net.host_access
    # What slirp4netns makes of a network cannot be chosen
    fixed = (str(network[2]), str(network[3]))
    if network.version != 4 or (way_out and (net.gateway, net.nameserver) != fixed):
        raise UsageProblem(
            f"the driver firecracker cannot connect the network {net.network}",
            cause=f"in {network} the gateway would be {fixed[0]} and the name server {fixed[1]}",
            hints=["--driver qemu"],
        )
    taken = {guest.ip} | {ip_address(each) for each in (net.gateway, net.nameserver) if each}
    ours = next(host for host in network.hosts() if host not in taken)
    return {
        "address": str(ours),
        "netmask": str(network.netmask),
        "guest": str(guest.ip),
        "cidr": str(network),
        "way_out": way_out,
        "host_access": net.host_access,
        "forwards": [
            [each.protocol, each.host_address, each.host_port, each.guest_port]
            for each in net.forwards
        ],
    }


def forwards_of(spec: LaunchSpec) -> list[Forward]:
    """Return the ports that are published from the start."""
    network = spec.data["network"]
    return [
        Forward(protocol=row[0], host_address=row[1], host_port=row[2], guest_port=row[3])
        for row in (network["forwards"] if network else ())
    ]


def host_network(spec: LaunchSpec, cx: Context, *, held: bool) -> Network | None:
    """Return what the host program makes; the card of a machine that is ``held`` is cut off at
    first. Raises HostNotReady when slirp4netns is missing.
    """
    network = spec.data["network"]
    if network is None:
        return None
    fence = spec.data["fence"]
    closed = packed_filter(fence_filter(Fence(**fence), ())).hex() if fence else ""
    return Network(
        address=network["address"],
        netmask=network["netmask"],
        guest=network["guest"],
        cidr=network["cidr"],
        slirp=find_slirp(cx) if network["way_out"] else "",
        host_access=network["host_access"],
        fence=closed,
        held=held,
    )
