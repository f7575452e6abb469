"""Machines that begin as one that was saved before it belonged to anybody.

A guest boots to where it would look for its disks, and waits; its memory lies in a file, and what
QEMU knows of it in another. Each machine that is made of them maps the memory for itself: what it
writes is its own, and nothing of it ever reaches the file. There must be no device that makes holes
in a guest's memory (a balloon): they would be holes in the file.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from banger_core.api import GuestFailed
from banger_qemu.migrate import load
from banger_qemu.qmp import Qmp
from banger_qemu.snapshots import open_state, write_state

BOOT_DEADLINE = 180.0
"""Seconds that a guest may take until it waits: it is to be in nobody's way."""

WAKE_DEADLINE = 30.0
"""Seconds until a guest that was saved answers: some tenths, but on a busy host."""

_WAITS, _WOKEN = b"@banger warm 1\n", b"@banger woken\n"
_LINE_MAX = 4096


def memory_file(image: Path) -> Path:
    """Where the memory of the machine that was saved in ``image`` lies."""
    return image / "memory"


async def save_waiting(qmp: Qmp, helper: Path, image: Path) -> None:
    """Wait until the guest waits, and save it into the directory ``image``, where its memory is
    already. ``helper`` is the socket of its helper's port. Raises GuestFailed and NoSpace.
    """
    # Held to the end: a guest that sees nobody there would look again and again
    async with _port(helper) as (reader, _):
        await _hear(reader, _WAITS, BOOT_DEADLINE)
        await qmp.execute("stop")
        await write_state(qmp, image, shared=False)


async def wake(qmp: Qmp, helper: Path, image: Path) -> None:
    """Make a QEMU that was started for it the machine that was saved in ``image``, and have the
    guest go on. Raises GuestFailed when it does not, IntegrityError where nothing was saved.
    """
    # Before the guest runs, so that it finds somebody there
    async with _port(helper) as (reader, writer):
        with open_state(image) as state:
            await load(qmp, state, shared=False)
        await qmp.execute("cont")
        writer.write(f"go {int(time.time())} {secrets.token_hex(64)}\n".encode())
        await _hear(reader, _WOKEN, WAKE_DEADLINE)


@asynccontextmanager
async def _port(
    helper: Path,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    try:
        reader, writer = await asyncio.open_unix_connection(helper, limit=_LINE_MAX)
        try:
            yield reader, writer
        finally:
            writer.close()
    except OSError as problem:
        raise GuestFailed("the guest cannot be reached", cause=str(problem)) from problem


async def _hear(reader: asyncio.StreamReader, wanted: bytes, deadline: float) -> None:
    try:
        async with asyncio.timeout(deadline):
            line = await reader.readline()
    except TimeoutError:
        raise GuestFailed(
            "the guest does not answer", cause=f"nothing came within {deadline:g} s"
        ) from None
    except ValueError:
        line = b"a line without end"
    if line != wanted:
        said = line[:100].decode("ascii", "backslashreplace").strip()
        raise GuestFailed("the guest does not answer", cause=f"it said {said!r}")
