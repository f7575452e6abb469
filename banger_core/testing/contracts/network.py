"""The suite for networks."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from banger_core.errors import Conflict
from banger_core.model import NetPlan, VmRequest
from banger_core.netcontract import ChangingNetwork, HoldingNetwork, HostNetwork
from banger_core.testing.contracts.base import Contract

if TYPE_CHECKING:
    from banger_core.testing.context import FakeContext

_IDS = ("0123456789ab", "ba9876543210")


class NetworkContract(Contract):
    """Set ``make``, and ``settings`` where the network has some of its own. What ``up`` makes on
    the host needs whatever right it needs here too.
    """

    contract: ClassVar[str] = "Network"
    settings: ClassVar[dict[str, Any]] = {}

    def test_plan_is_complete(self, subject: Any) -> None:
        plan = subject.plan(_IDS[0], VmRequest(), [], self.settings)
        self.asks(isinstance(plan, NetPlan), f"plan returns a NetPlan, not {plan!r}")
        self.asks(plan.network and plan.kind, "a plan names its network and its kind")
        self.survives_json(plan, "a plan")
        address, port = plan.ssh
        ipaddress.ip_address(address)
        self.asks(0 < port < 65536, f"SSH is reached at a port, not {port}")
        if plan.mac:
            unicast_local = re.fullmatch(r"[0-9a-f][26ae](:[0-9a-f]{2}){5}", plan.mac)
            self.asks(unicast_local, f"a MAC is unicast and locally administered, not {plan.mac}")

    def test_same_vm_gets_the_same_plan(self, subject: Any) -> None:
        first, second = (subject.plan(_IDS[0], VmRequest(), [], self.settings) for _ in range(2))
        self.asks(first == second, "plan is a function of the VM and of what is taken")

    def test_vms_do_not_collide(self, subject: Any) -> None:
        plans: list[NetPlan] = []
        for number in range(20):
            plans.append(subject.plan(f"{number:012x}", VmRequest(), plans, self.settings))
        reached = {plan.ssh for plan in plans}
        self.asks(len(reached) == len(plans), "no two VMs are reached at the same address")

    def test_taken_addresses_are_avoided(self, subject: Any) -> None:
        first = subject.plan(_IDS[0], VmRequest(), [], self.settings)
        second = subject.plan(_IDS[0], VmRequest(), [first], self.settings)
        self.asks(first.ssh != second.ssh, "an address that is taken is not given again")

    @pytest.mark.changes_host
    def test_up_and_down_can_be_repeated(self, subject: Any, cx: FakeContext) -> None:
        async def repeat() -> None:
            plan = subject.plan(_IDS[0], VmRequest(), [], self.settings)
            try:
                await subject.up(plan, cx)
                await subject.up(plan, cx)
            finally:
                await subject.down(plan, cx)
                await subject.down(plan, cx)

        asyncio.run(repeat())

    @pytest.mark.changes_host
    def test_what_is_up_can_be_changed(self, subject: Any, cx: FakeContext) -> None:
        if not isinstance(subject, ChangingNetwork):
            pytest.skip("what a VM may reach is settled when it starts")

        async def change() -> None:
            plan = subject.plan(_IDS[0], VmRequest(), [], self.settings)
            try:
                await subject.up(plan, cx)
                for outbound in (True, False, False):
                    await subject.change(replace(plan, outbound=outbound), cx)
            finally:
                await subject.down(plan, cx)
            with pytest.raises(Conflict):
                await subject.change(plan, cx)

        asyncio.run(change())

    @pytest.mark.changes_host
    def test_down_works_without_up(self, subject: Any, cx: FakeContext) -> None:
        asyncio.run(subject.down(subject.plan(_IDS[1], VmRequest(), [], self.settings), cx))

    @pytest.mark.changes_host
    def test_a_vm_can_be_cut_off_and_let_go(self, subject: Any, cx: FakeContext) -> None:
        if not isinstance(subject, HoldingNetwork):
            pytest.skip("it cuts nobody off")

        async def hold() -> None:
            plan = subject.plan(_IDS[0], VmRequest(), [], self.settings)
            try:
                await subject.up(plan, cx)
                for _ in range(2):
                    await subject.hold(plan, cx)
                for _ in range(2):
                    await subject.release(plan, cx)
                await subject.hold(plan, cx)
            finally:
                await subject.down(plan, cx)

        asyncio.run(hold())

    @pytest.mark.changes_host
    def test_what_belongs_to_no_vm_is_swept(self, subject: Any, cx: FakeContext) -> None:
        if not isinstance(subject, HostNetwork):
            pytest.skip("it makes nothing on the host that outlives its makers")

        async def lose() -> None:
            await subject.check(VmRequest(), cx)
            plan = subject.plan(_IDS[0], VmRequest(), [], self.settings)
            try:
                await subject.up(plan, cx)
                await subject.sweep([_IDS[0]], cx)
                await subject.sweep([_IDS[1]], cx)
                await subject.sweep([], cx)
            finally:
                await subject.down(plan, cx)

        asyncio.run(lose())
