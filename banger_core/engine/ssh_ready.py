"""When a guest answers over SSH: a probe with a deadline, made for networks that answer early."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from banger_core.errors import GuestFailed

_BANNER = b"SSH-2.0-"
_PREFACE_MAX = 4096
_FIRST, _TOLD, _LONGEST = 0.15, 1.0, 2.0
_PAUSE = 0.05
_QUIET = 20.0


async def wait_for_ssh(
    host: str,
    port: int,
    timeout: float,
    alive: Callable[[], bool],
    hint: asyncio.Event | None = None,
    name: str = "NAME",
    longest: float = _LONGEST,
) -> None:
    """Return as soon as an SSH server greets at ``host:port`` (RFC 4253, 4.2).

    A VMM's user network accepts connections long before the guest listens, and a connection made
    too early may never come to life: so an attempt is given up quickly and made again. It is given
    0.15 s at first, later a quarter of the time waited so far (``longest`` at most), which a busy
    guest needs. ``hint`` is set when the guest says that it listens: an attempt starts at once, and
    has a second at least. Where a hint may come, nothing is tried for the first 20 s without it:
    the guest's server takes few clients that have not logged in (dropbear: five), and those that
    left early count until it has noticed.

    Raises GuestFailed after ``timeout`` seconds, or when ``alive()`` says that the VM is gone.
    """
    began, last = time.monotonic(), ""
    least = _FIRST
    if hint is not None:
        await _hinted(hint, alive, min(_QUIET, timeout))
        least = _TOLD
    if hint is None or hint.is_set():
        hint = asyncio.Event()
    while (waited := time.monotonic() - began) < timeout:
        if not alive():
            raise _failed(f"{name} stopped before it answered", "its VMM has ended", name)
        wanted = min(max(least, waited / 4), longest)
        patience = min(wanted, timeout - waited)
        attempt = asyncio.create_task(_greets(host, port, patience))
        if await _overtaken(attempt, hint):
            hint, least = asyncio.Event(), _TOLD
            continue
        if not (said := attempt.result()):
            return
        # An attempt that was cut short by the deadline may not have heard what others did
        last = said if patience == wanted or not last else last
        if await _overtaken(asyncio.create_task(asyncio.sleep(_PAUSE)), hint):
            hint, least = asyncio.Event(), _TOLD
    raise _failed(
        f"{name} did not answer over SSH within {timeout:g} s",
        f"{host}:{port}: {last or 'nothing listens'}",
        name,
    )


async def _hinted(hint: asyncio.Event, alive: Callable[[], bool], seconds: float) -> None:
    """Return when the hint is given, the VM is gone, or the time is over."""
    deadline = time.monotonic() + seconds
    while not hint.is_set() and alive() and time.monotonic() < deadline:
        with suppress(TimeoutError):
            await asyncio.wait_for(hint.wait(), _PAUSE)


async def _greets(host: str, port: int, patience: float) -> str:
    """Make one attempt; return why it failed, or nothing."""
    writer = None
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(host, port, limit=_PREFACE_MAX)
            seen = 0
            # A server may say other lines before its identification
            while seen < _PREFACE_MAX and (line := await reader.readline()):
                if line.startswith(_BANNER):
                    return ""
                seen += len(line)
            return "it says something that is not SSH" if seen else "it hangs up"
    except TimeoutError:
        return "it says nothing" if writer else "no connection"
    except ValueError:
        return "it says something that is not SSH"
    except OSError as problem:
        # asyncio puts the address where the reason should stand
        return os.strerror(problem.errno) if problem.errno else str(problem)
    finally:
        if writer is not None:
            # At once and without ceremony: the guest may never answer
            writer.transport.abort()


async def _overtaken(task: asyncio.Task[Any], hint: asyncio.Event) -> bool:
    """Wait for the task, or for the hint, which ends the task; say whether it was the hint."""
    told = asyncio.create_task(hint.wait())
    try:
        await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
        return not task.done()
    finally:
        task.cancel()
        told.cancel()
        await asyncio.wait({task, told})


def _failed(summary: str, cause: str, name: str) -> GuestFailed:
    return GuestFailed(summary, cause=cause, hints=[f"banger vm logs {name}"])
