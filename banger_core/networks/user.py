"""User-mode networks: the VMM connects the guest through ordinary sockets of this user."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from banger_core.api import GUEST_SSH_PORT, Forward, NetPlan, Publish
from banger_core.networks.loopback import can_bind, check_port, pick

if TYPE_CHECKING:
    from banger_core.api import Context, VmRequest

RELEASE_DEADLINE = 5.0
"""Seconds within which the sockets of a VMM that has ended are gone."""


class UserNetwork:
    """Each VM has its own loopback address; inside, all of them see the same small network
    (QEMU's defaults: 10.0.2.0/24, gateway .2, name server .3).
    """

    name = "user"
    outbound = True

    def plan(
        self,
        vm_id: str,
        request: VmRequest,
        taken: Iterable[NetPlan],
        settings: Mapping[str, Any],  # noqa: ARG002 - the contract
    ) -> NetPlan:
        """Choose the address. Raises HostNotReady when none is free, Conflict when a port to be
        published is taken.
        """
        used = {plan.host_address for plan in taken}
        address, port = pick(vm_id, used, request.publish)
        ssh = Publish(host_port=port, guest_port=GUEST_SSH_PORT)
        return NetPlan(
            network=self.name,
            kind="user",
            mac=_mac(vm_id),
            host_address=address,
            guest_address="10.0.2.15/24",
            gateway="10.0.2.2",
            nameserver="10.0.2.3",
            outbound=self.outbound and request.nat is not False,
            host_access=request.host_access,
            forwards=tuple(each.at(address) for each in (ssh, *request.publish)),
        )

    async def up(self, plan: NetPlan, cx: Context) -> None:  # noqa: ARG002 - the contract
        """See that every port is free: the VMM makes the sockets, and loopback addresses are
        always there. Raises Conflict or HostNotReady naming the port.
        """
        for forward in plan.forwards:
            taken = "banger net forward remove NAME {host}"
            check_port(forward.host_address, forward.publish, taken)

    async def down(self, plan: NetPlan, cx: Context) -> None:
        """See that the VMM's sockets are gone.

        What still listens after the deadline may be a stranger's, and must not keep a VM from
        being deleted: it is only reported.
        """
        try:
            async with asyncio.timeout(RELEASE_DEADLINE):
                while busy := _busy(plan):  # noqa: ASYNC110 - the kernel sends no event for this
                    await asyncio.sleep(0.05)
        except TimeoutError:
            where = ", ".join(f"{forward.host_address}:{forward.host_port}" for forward in busy)
            cx.log.warning("something still listens on %s", where)


class NoNetwork(UserNetwork):
    """The same without a way out: the VMM is told to keep the guest's packets in."""

    name = "none"
    outbound = False


def _busy(plan: NetPlan) -> list[Forward]:
    return [
        forward
        for forward in plan.forwards
        if not can_bind(forward.host_address, forward.host_port, forward.protocol)
    ]


def _mac(vm_id: str) -> str:
    tail = hashlib.sha256(f"{vm_id}/mac".encode()).digest()[:3]
    # 52:54:00 is the prefix, locally administered, that QEMU and libvirt use
    return "52:54:00:" + tail.hex(":")
