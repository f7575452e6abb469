"""Keeps the responder running, as the settings want it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from banger_core.api import (
    BangerError,
    Context,
    last_words,
    process_alive,
    recorded_process,
    secure_dir,
    signal_process,
    wait_process,
)
from banger_dns.orders import Orders, Said, directory_of, nudge, write_owner
from banger_dns.ports import check
from banger_dns.settings import settings_of

START = 15.0
"""Seconds that a responder may take until it listens."""

END = 5.0
"""Seconds that it may take to leave."""


async def keep(cx: Context) -> None:
    """Start the responder where it is wanted and none runs, replace one that works otherwise.

    Raises HostNotReady or Conflict when its address cannot be had.
    """
    settings, state = settings_of(cx), cx.state_dir
    directory = secure_dir(directory_of(state))
    if write_owner(state):
        nudge(state)
    orders, said = Orders.of(settings), Said.read(state)
    orders.write(state)
    if said and (said.foreground or (settings.responder and said.orders == orders)):
        return
    if said:
        await _end(said)
    elif _starting(directory):
        return
    if settings.responder:
        check(settings.address, settings.port)
        argv = [sys.executable, "-P", "-m", "banger_dns.responder", str(state)]
        await cx.spawn(argv, directory=directory)


async def listening(state: Path) -> Said | None:
    """Return what the responder says; waits for one that is starting."""
    try:
        async with asyncio.timeout(START):
            while (said := Said.read(state)) is None and _starting(directory_of(state)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    except TimeoutError:
        return None
    return said


def ended(state: Path) -> BangerError:
    """The error of a responder that was started and runs no more."""
    directory = directory_of(state)
    lines = last_words(directory)
    return BangerError(
        "names are not served",
        cause=f"the responder ended: {lines[-1][:300]}" if lines else "the responder ended",
        hints=[f"cat {directory}/vmm.log", "wait a few seconds: it is started again"],
    )


def _starting(directory: Path) -> bool:
    last = recorded_process(directory)
    return last is not None and process_alive(last)


async def _end(said: Said) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        signal_process(said.process, number)
        try:
            async with asyncio.timeout(END):
                await wait_process(said.process)
                return
        except TimeoutError:
            continue
