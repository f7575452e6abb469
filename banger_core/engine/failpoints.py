"""Places where a test may make the daemon die, fail or wait.

``BANGER_FAILPOINT=NAME:kill|error|hang[;NAME:…]`` arms them. Every point is registered when its
module is imported, so that a test can go through all of ``POINTS``:

    AFTER_DISK = register("create.after_disk", "a disk without a VM is removed")
    ...
    await afailpoint(AFTER_DISK)
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import cache
from pathlib import Path

from banger_core.errors import BangerError, UsageProblem

VARIABLE = "BANGER_FAILPOINT"
RELEASE = "BANGER_FAILPOINT_RELEASE"
ACTIONS = ("kill", "error", "hang")

POINTS: dict[str, str] = {}
"""Every registered point, with what it proves."""

_POLL = 0.02


def register(name: str, proves: str) -> str:
    """Make a point known and return its name. Raises ValueError when the name is taken."""
    if name in POINTS:
        raise ValueError(f"failpoint {name!r} is registered twice")
    POINTS[name] = proves
    return name


def check_environment() -> None:
    """Raise UsageProblem when the variable is malformed or names a point that does not exist.

    To be called when the daemon starts, after all rooms have been imported.
    """
    for name in _armed(os.environ.get(VARIABLE, "")):
        if name not in POINTS:
            raise UsageProblem(
                f"no failpoint named {name!r}",
                cause=f"{VARIABLE} may name: {', '.join(sorted(POINTS))}",
                hints=[f"unset {VARIABLE}"],
            )


def failpoint(name: str) -> None:
    """Do what is armed for ``name``: nothing, die, raise BangerError, or block until released."""
    if _act(name):
        while not _released():
            time.sleep(_POLL)


async def afailpoint(name: str) -> None:
    """As ``failpoint``, but a hang leaves the event loop free and ends when cancelled."""
    if _act(name):
        while not _released():  # noqa: ASYNC110 - the signal comes from another process
            await asyncio.sleep(_POLL)


def _act(name: str) -> bool:
    """Kill or raise when that is armed; return whether a hang is."""
    if name not in POINTS:
        raise ValueError(f"failpoint {name!r} is not registered")
    action = _armed(os.environ.get(VARIABLE, "")).get(name)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "error":
        raise BangerError(
            f"failpoint {name} was reached",
            cause=f"{VARIABLE} asks for an error",
            hints=[f"unset {VARIABLE}"],
        )
    return action == "hang"


def _released() -> bool:
    release = os.environ.get(RELEASE, "")
    return bool(release) and Path(release).exists()


@cache
def _armed(text: str) -> dict[str, str]:
    armed = {}
    for item in filter(None, (part.strip() for part in text.split(";"))):
        name, _, action = item.partition(":")
        if action not in ACTIONS:
            raise UsageProblem(
                f"{VARIABLE}: {item!r} is not NAME:{'|'.join(ACTIONS)}",
                hints=[f"export {VARIABLE}=NAME:error"],
            )
        armed[name] = action
    return armed
