"""Shut a guest down: ask it, wait, then let its kernel do it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from banger_core.errors import BangerError

if TYPE_CHECKING:
    from banger_core.contracts import Machine
    from banger_core.engine.engine import Engine
    from banger_core.engine.operations import Operation
    from banger_core.model import VmRecord

POWEROFF_COMMAND = "banger-poweroff"

HELPER_PATIENCE = 1.0
"""Seconds that the guest helper may take to answer before SSH is tried: it starts later than
that."""

SYNC_GRACE = 5.0
"""Seconds for the VMM's own way of ending a guest, before its process is killed."""


async def shut_down(
    engine: Engine, record: VmRecord, machine: Machine, operation: Operation
) -> bool:
    """Have the guest power off within the configured grace, else have the VMM end it in its way;
    says which it was, and returns whether it was the guest. Else the VMM may still run, and is to
    be killed.
    """
    operation.step(f"shutting {record.name} down")
    grace, began = engine.settings.vm.stop_grace, time.monotonic()
    try:
        async with asyncio.timeout(grace):
            await _ask(engine, record, grace)
            await machine.wait()
    except TimeoutError:
        operation.notice(f"{record.name} did not shut down in {grace:g} s and was forced")
        with suppress(BangerError):
            await machine.stop(SYNC_GRACE)
        return False
    operation.notice(f"{record.name} shut down cleanly in {time.monotonic() - began:.1f} s")
    return True


async def _ask(engine: Engine, record: VmRecord, grace: float) -> None:
    try:
        helper = engine.machines.helpers.of(record)
        await helper.ask("shutdown", deadline=min(HELPER_PATIENCE, grace))
    except BangerError:
        # The guest may hang up before it has answered: only its end counts
        with suppress(BangerError):
            await engine.run_in_guest(record, POWEROFF_COMMAND, timeout=grace)
