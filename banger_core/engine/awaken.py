"""A VM that goes on from what was saved of one: it stands still, and is unplugged, until it has
been told what has changed since.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.contracts import SavedMachine
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.helpers import set_clock
from banger_core.errors import BangerError, GuestFailed, HostileInput
from banger_core.netcontract import HoldingNetwork

if TYPE_CHECKING:
    from banger_core.contracts import Machine
    from banger_core.engine.engine import Engine
    from banger_core.engine.operations import Operation
    from banger_core.guest.helper import GuestHelper
    from banger_core.model import VmRecord

BEFORE_RENEW = register("wake.before_resume", "a VM is loaded from a snapshot and stands still")

BEFORE_CONNECT = register("wake.before_connect", "a copy is another machine, and is cut off")

PATIENCE = 120.0
"""Seconds until a guest's helper must answer: one that was saved while it started starts first."""

RENEWAL = 240.0
"""Seconds for a guest to become another: keys for an image's own SSH server take long."""

_TRY = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a VM goes on from: the driver's files in ``directory``. A copy of another VM is ``new``:
    its guest becomes whom its seed names before anybody reaches it.
    """

    directory: Path
    new: bool


async def awaken(
    engine: Engine, record: VmRecord, machine: Machine, saved: Saved, operation: Operation
) -> None:
    """Let a restored machine go on, tell its guest, and plug it in. Raises GuestFailed when a copy
    does not become another; it was never plugged in then.
    """
    assert isinstance(machine, SavedMachine)
    helper = engine.machines.helpers.of(record)
    await afailpoint(BEFORE_RENEW)
    if saved.new:
        operation.step(f"giving {record.name} an identity of its own")
        await machine.resume()
        await _reached(helper)
        await set_clock(helper, "renew", deadline=RENEWAL)
        await afailpoint(BEFORE_CONNECT)
        await _plug_in(engine, record, machine, operation)
        return
    await _plug_in(engine, record, machine, operation)
    await machine.resume()
    try:
        await _reached(helper)
        await set_clock(helper, "refresh", deadline=PATIENCE)
    except BangerError as problem:
        operation.notice(
            f"{record.name} may have an old time, and repeat random numbers: {problem.cause}"
        )


async def _plug_in(
    engine: Engine, record: VmRecord, machine: SavedMachine, operation: Operation
) -> None:
    await machine.connect()
    net = record.plan.net
    network = engine.registry.networks.load(net.network)
    if isinstance(network, HoldingNetwork):
        await network.release(net, engine.context(net.network, operation))


async def _reached(helper: GuestHelper) -> None:
    """Return when the helper answers: what it was asked when it was saved is lost."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            await helper.ask("health", deadline=_TRY)
        except HostileInput:
            raise
        except GuestFailed:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return
