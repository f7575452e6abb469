"""Why a Firecracker ended at once, from what it and the host program wrote last."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from banger_core.api import BangerError, GuestFailed, HostNotReady, last_words
from banger_firecracker.host.launch import MARK

_PATIENCE = 20
_POLL = 0.05
_STAMP = re.compile(r"^\S+ \[[^\]]*\] ")

_HINTS = (
    (
        "user and network namespace",
        "sudo sysctl user.max_user_namespaces kernel.apparmor_restrict_unprivileged_userns",
    ),
    ("/dev/net/tun", "ls -l /dev/net/tun"),
    ("bridge", "sudo modprobe bridge"),
    ("connect the guest", "sudo sysctl kernel.yama.ptrace_scope"),
)


async def explain_end(directory: Path) -> BangerError:
    """Return the error for a process that was spawned for ``directory`` and ended at once."""
    words = ""
    # The relay writes them when Firecracker has ended
    for _ in range(_PATIENCE):
        if words := telling_line(directory):
            break
        await asyncio.sleep(_POLL)
    if words.startswith(MARK):
        cause = words.removeprefix(MARK)
        hints = [hint for word, hint in _HINTS if word in cause]
        return HostNotReady(
            "the host cannot run a machine with Firecracker",
            cause=cause,
            hints=[*hints, "banger doctor"],
        )
    return GuestFailed("Firecracker ended at once", cause=words or "it said nothing")


def telling_line(directory: Path) -> str:
    """Return the line that says most: the host program's own, else the last that is no farewell."""
    lines = [_STAMP.sub("", line) for line in last_words(directory)]
    for line in lines:
        if line.startswith(MARK):
            return line[:500]
    telling = [line for line in lines if "exiting" not in line and "WARNING" not in line]
    return telling[-1][:500] if telling else ""
