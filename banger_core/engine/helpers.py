"""The guest helpers of the VMs that run."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from banger_core.contracts import HelperMachine
from banger_core.errors import GuestFailed
from banger_core.guest.helper import DEADLINE, GuestHelper

if TYPE_CHECKING:
    from banger_core.contracts import Machine
    from banger_core.model import VmRecord

PROMPT = 0.5
"""Seconds after which an answer says that the guest's clock may be late by as much."""

TIMES = 3
"""How often a guest is told the time at most."""


class Helpers:
    """One helper for each VM that is watched. Used on the event loop only."""

    def __init__(self) -> None:
        self._helpers: dict[str, GuestHelper] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}

    def begin(self, record: VmRecord, machine: Machine) -> None:
        """Get ready to ask the helper of a VM that runs from now on."""
        self.end(record.id)
        if isinstance(machine, HelperMachine):
            helper = self._helpers[record.id] = GuestHelper(machine.helper, record.name)
            self._opening[record.id] = asyncio.create_task(helper.open())

    def end(self, vm_id: str) -> None:
        """Hang up. Idempotent."""
        if opening := self._opening.pop(vm_id, None):
            opening.cancel()
        if helper := self._helpers.pop(vm_id, None):
            helper.close()

    def of(self, record: VmRecord) -> GuestHelper:
        """Return the helper of a VM that runs. Raises GuestFailed where there is none."""
        if helper := self._helpers.get(record.id):
            return helper
        raise GuestFailed(
            f"{record.name} has no guest helper",
            cause=f"its driver {record.plan.driver} gives no way to it",
            hints=[f"banger vm show {record.name}"],
        )


async def set_clock(
    helper: GuestHelper, question: str = "time", *, deadline: float = DEADLINE
) -> None:
    """Set a guest's clock to this host's, by ``question``, which may do more. Takes up to a second
    before it is asked: guests are told whole seconds, at the moment at which they begin. One that
    took long to hear nothing but the time is told again. Raises GuestFailed and HostileInput.
    """
    for _ in range(TIMES if question == "time" else 1):
        moment = math.ceil(time.time())
        await asyncio.sleep(max(0.0, moment - time.time()))
        await helper.ask(f"{question} {moment}", deadline=deadline)
        if time.time() - moment < PROMPT:
            return
