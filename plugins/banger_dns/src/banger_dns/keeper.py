"""Keeps the responder running, as the settings want it."""

from __future__ import annotations

import asyncio
import errno
import signal
import sys
from pathlib import Path

from banger_core.api import (
    Conflict,
    Context,
    HostNotReady,
    process_alive,
    recorded_process,
    secure_dir,
    signal_process,
    wait_process,
)
from banger_dns.orders import Orders, Said, directory_of, nudge, write_owner
from banger_dns.ports import holders, obstacle
from banger_dns.settings import DEFAULT_PORT, DnsSettings, settings_of

START = 5.0
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
    said = Said.read(state)
    orders = Orders.of(settings) if settings.responder else None
    if said and said.orders != orders:
        await _end(said)
    elif said or _starting(directory):
        return
    if orders is not None:
        check(settings)
        orders.write(state)
        argv = [sys.executable, "-P", "-m", "banger_dns.responder", str(state)]
        await cx.spawn(argv, directory=directory)


def check(settings: DnsSettings) -> None:
    """Raise Conflict when another program has the responder's address, HostNotReady when this
    user must not have it, or this host does not have it.
    """
    problem = obstacle(settings.address, settings.port)
    if problem is None:
        return
    what = f"{settings.address} port {settings.port}"
    other = [f"port = {DEFAULT_PORT} in [plugins.dns], then banger daemon stop"]
    if problem.errno == errno.EADDRINUSE:
        found = holders(settings.port)
        raise Conflict(
            f"the names of machines cannot be served: {what} is taken",
            cause=f"by {', '.join(found)}" if found else "by a program of another user",
            hints=[
                f"sudo ss -lnptu 'sport = :{settings.port}'   (says which program)",
                f"set port = {settings.port + 1} in [plugins.dns], then banger daemon stop",
            ],
        )
    if problem.errno == errno.EACCES:
        raise HostNotReady(
            f"the names of machines cannot be served: {what} is not for this user",
            cause="the kernel keeps low ports for root (net.ipv4.ip_unprivileged_port_start)",
            hints=["sudo sysctl net.ipv4.ip_unprivileged_port_start=53", *other],
        )
    raise HostNotReady(
        f"the names of machines cannot be served: {what} cannot be had",
        cause=problem.strerror or str(problem),
        hints=["ip addr", 'set address = "127.0.0.1" in [plugins.dns], then banger daemon stop'],
    )


async def listening(state: Path) -> Said | None:
    """Return what the responder says; waits for one that is starting."""
    try:
        async with asyncio.timeout(START):
            while _starting(directory_of(state)):
                if said := Said.read(state):
                    return said
                await asyncio.sleep(0.02)
    except TimeoutError:
        return None
    return None


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
