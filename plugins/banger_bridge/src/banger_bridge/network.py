"""The network (all of ``netcontract``)."""

from __future__ import annotations

import json
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from banger_bridge.access import ask, mark
from banger_bridge.addresses import (
    gateways,
    is_tap,
    mac_address,
    nameserver,
    offset,
    tap_name,
)
from banger_core.api import BangerError, Conflict, Context, NetPlan, UsageProblem, VmRequest


class BridgeNetwork:
    """Each VM has a tap on a bridge of this host's, and addresses that the host and linked VMs
    reach as they are.
    """

    def plan(
        self,
        vm_id: str,
        request: VmRequest,
        taken: Iterable[NetPlan],
        settings: Mapping[str, Any],
    ) -> NetPlan:
        """Choose the addresses. Raises HostNotReady when none is free, and UsageProblem for ports
        to publish.
        """
        if request.publish:
            raise UsageProblem(
                "the network bridge publishes no ports",
                cause="a VM on it has an address whose ports are all reached as they are",
                hints=["leave out --publish", "--network user"],
            )
        subnet = IPv4Network(settings["subnet"])
        place = offset(vm_id, subnet, taken)
        outbound = settings["nat"] if request.nat is None else request.nat
        gateway, gateway6 = gateways(settings)
        plan = NetPlan(
            network="bridge",
            kind="tap",
            mac=mac_address(subnet[place]),
            guest_address=f"{subnet[place]}/{subnet.prefixlen}",
            gateway=gateway.partition("/")[0],
            nameserver=nameserver(settings),
            tap=tap_name(vm_id),
            bridge=settings["bridge"],
            outbound=outbound,
            host_access=request.host_access,
        )
        if not gateway6:
            return plan
        subnet6 = IPv6Network(settings["subnet6"])
        return replace(
            plan,
            guest_address6=f"{subnet6[place]}/{subnet6.prefixlen}",
            gateway6=gateway6.partition("/")[0],
        )

    async def check(self, request: VmRequest, cx: Context) -> None:
        """See that there is the right, that the subnets are nobody else's and, for a way out,
        that this host forwards. Raises HostNotReady or Conflict.
        """
        settings = cx.settings
        gateway, gateway6 = gateways(settings)
        outbound = settings["nat"] if request.nat is None else request.nat
        await ask(
            "check",
            cx,
            bridge=settings["bridge"],
            gateway=gateway,
            gateway6=gateway6,
            outbound=outbound,
        )
        for subnet, name in await docker_subnets(cx):
            for key in ("subnet", "subnet6"):
                if settings[key] and _overlap(subnet, settings[key]):
                    raise Conflict(
                        f"the subnet {settings[key]} is taken on this host",
                        cause=f"Docker's network {name} has {subnet}",
                        hints=[f"choose another [plugins.bridge] {key}: banger config path"],
                    )

    async def up(self, plan: NetPlan, cx: Context) -> None:
        """Make the bridge where there is none, the VM's walls and its tap. Idempotent."""
        await ask("connect", cx, **_port(plan))

    async def change(self, plan: NetPlan, cx: Context) -> None:
        """Open or close the way out of a VM that is up, and make its links those of ``plan``."""
        await ask("change", cx, **_port(plan))

    async def hold(self, plan: NetPlan, cx: Context) -> None:
        """Set the VM's tap down: nothing passes. Idempotent."""
        await ask("switch", cx, **_port(plan), on=False)

    async def release(self, plan: NetPlan, cx: Context) -> None:
        """Set it up. Idempotent."""
        await ask("switch", cx, **_port(plan), on=True)

    async def down(self, plan: NetPlan, cx: Context) -> None:
        """Remove tap and walls, and the bridge with the last of them. Idempotent."""
        await ask("disconnect", cx, **_port(plan))

    async def sweep(self, vm_ids: Collection[str], cx: Context) -> None:
        """Remove taps and walls of this banger's VMs that are not among ``vm_ids``, and a bridge
        of its own that nobody is on.
        """
        bridge, keep = cx.settings["bridge"], {tap_name(vm_id) for vm_id in vm_ids}
        names = {name for _, name in socket.if_nameindex()}
        if not any(is_tap(name) for name in names) and bridge not in names:
            return
        links = json.loads(await cx.run(["ip", "-json", "link", "show"]))
        ours = {link["ifname"] for link in links if link.get("ifalias") == mark(cx)}
        taps = {name for name in ours if is_tap(name)}
        if taps <= keep and (taps or bridge not in ours):
            return
        gateway, gateway6 = gateways(cx.settings)
        answer = await ask(
            "sweep", cx, bridge=bridge, gateway=gateway, gateway6=gateway6, keep=sorted(keep)
        )
        for name in answer["removed"]:
            cx.log.warning("removed %s, which belongs to no VM", name)


async def docker_subnets(cx: Context) -> list[tuple[str, str]]:
    """Return the subnets of Docker's networks with their names; none where Docker does not say."""
    try:
        listed = await cx.run(["docker", "network", "ls", "--quiet"], timeout=5)
        ids = listed.decode().split()
        if not ids:
            return []
        said = await cx.run(["docker", "network", "inspect", *ids], timeout=5)
        return [
            (str(ip_network(each["Subnet"])), str(network["Name"]))
            for network in json.loads(said)
            for each in network["IPAM"]["Config"] or ()
        ]
    except (BangerError, ValueError, KeyError, TypeError) as problem:
        cx.log.debug("Docker's networks are not known: %s", problem)
        return []


def _overlap(one: str, other: str) -> bool:
    first, second = ip_network(one), ip_network(other)
    return first.version == second.version and first.overlaps(second)


def _port(plan: NetPlan) -> dict[str, Any]:
    """What the helper has to know of a VM, all of it from the plan: settings change."""
    prefix = plan.guest_address.partition("/")[2]
    prefix6 = plan.guest_address6.partition("/")[2]
    return {
        "bridge": plan.bridge,
        "gateway": f"{plan.gateway}/{prefix}",
        "gateway6": f"{plan.gateway6}/{prefix6}" if plan.gateway6 else "",
        "tap": plan.tap,
        "mac": plan.mac,
        "address": plan.guest_address,
        "address6": plan.guest_address6,
        "outbound": plan.outbound,
        "host_access": plan.host_access,
        "links": list(plan.links),
    }
