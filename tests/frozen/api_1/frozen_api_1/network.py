"""The network: each machine at a loopback address of its own, by sockets of its VMM."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from banger_core.api import GUEST_SSH_PORT, Context, Forward, HostNotReady, NetPlan, VmRequest

POOL = ipaddress.ip_network("127.77.0.0/16")
PORT = 2222


class FrozenNetwork:
    """``plan`` decides, ``up`` makes it so, ``down`` takes it back."""

    def plan(
        self,
        vm_id: str,
        request: VmRequest,
        taken: Iterable[NetPlan],
        settings: Mapping[str, Any],
    ) -> NetPlan:
        """Choose an address that no other plan has. Raises HostNotReady when there is none."""
        used = {plan.host_address for plan in taken}
        address = next((one for one in _candidates(vm_id) if one not in used), None)
        if address is None:
            raise HostNotReady(f"no address of {POOL} is free")
        ssh = Forward(host_address=address, host_port=PORT, guest_port=GUEST_SSH_PORT)
        return NetPlan(
            network="frozen",
            kind="user",
            mac="52:54:00:" + _seed(vm_id)[:3].hex(":"),
            host_address=address,
            guest_address="10.0.2.15/24",
            gateway="10.0.2.2",
            nameserver="10.0.2.3",
            forwards=(ssh, *(each.at(address) for each in request.publish)),
        )

    async def up(self, plan: NetPlan, cx: Context) -> None:
        """Make what the plan needs on the host; idempotent. Here: nothing, the VMM has it."""

    async def down(self, plan: NetPlan, cx: Context) -> None:
        """Remove it; idempotent, and works after a crash in the middle of ``up``."""


def _candidates(vm_id: str) -> Iterable[str]:
    start = int.from_bytes(_seed(vm_id)[:2], "big")
    for step in range(256):
        offset = (start + step) % POOL.num_addresses
        if offset % 256 not in (0, 255):
            yield str(POOL[offset])


def _seed(vm_id: str) -> bytes:
    return hashlib.sha256(vm_id.encode()).digest()
