"""Memory and devices of a machine, out into a file and in from one: QEMU's migration (its
docs/devel/migration.rst) by way of a file descriptor, which a QEMU that may start no program takes.
"""

from __future__ import annotations

import asyncio
from typing import IO

from banger_core.api import GuestFailed
from banger_qemu.qmp import Qmp

_DESCRIPTOR = "migration"
_POLL = 0.01
_UNLIMITED = 1 << 40
_UNDER_WAY = ("setup", "active", "device", "cancelling", "pre-switchover")


async def save(qmp: Qmp, file: IO[bytes], *, shared: bool = True) -> None:
    """Have QEMU write a machine that stands still into ``file``; without ``shared`` not the memory
    that lies in a file which it shares. Raises GuestFailed; then, and when it is cancelled, QEMU
    writes no more, and the machine can go on.
    """
    await qmp.execute("migrate-set-parameters", **{"max-bandwidth": _UNLIMITED})
    await _with_shared(qmp, shared)
    await qmp.give(_DESCRIPTOR, file)
    try:
        await qmp.execute("migrate", uri=f"fd:{_DESCRIPTOR}")
        await _finished(qmp, "write its state")
    except BaseException:
        await cancel(qmp)
        raise


async def load(qmp: Qmp, file: IO[bytes], *, shared: bool = True) -> None:
    """Have a QEMU that waits for it (``-incoming defer``) take in what ``save`` wrote in that way.
    The machine stands still afterwards. Raises GuestFailed, and then QEMU may be gone.
    """
    # Announcements would claim the addresses of the machine that was saved
    await qmp.execute("migrate-set-parameters", **{"announce-rounds": 0})
    await _with_shared(qmp, shared)
    await qmp.give(_DESCRIPTOR, file)
    await qmp.execute("migrate-incoming", uri=f"fd:{_DESCRIPTOR}")
    await _finished(qmp, "take the state of another")


async def _with_shared(qmp: Qmp, shared: bool) -> None:
    # A machine that began as another one was told before to go without
    capability = {"capability": "x-ignore-shared", "state": not shared}
    await qmp.execute("migrate-set-capabilities", capabilities=[capability])


async def cancel(qmp: Qmp) -> None:
    """See to it that nothing is being saved (any more)."""
    while await _status(qmp) in _UNDER_WAY:
        await qmp.execute("migrate_cancel")
        await asyncio.sleep(_POLL)


async def _finished(qmp: Qmp, what: str) -> None:
    while (status := await _status(qmp)) in _UNDER_WAY or not status:  # noqa: ASYNC110 - QEMU is another process
        await asyncio.sleep(_POLL)
    if status != "completed":
        found = await qmp.execute("query-migrate")
        raise GuestFailed(f"QEMU cannot {what}", cause=str(found.get("error-desc") or status))


async def _status(qmp: Qmp) -> str:
    found = await qmp.execute("query-migrate")
    return str(found.get("status", "")) if isinstance(found, dict) else ""
