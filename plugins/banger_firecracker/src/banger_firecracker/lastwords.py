"""Why a Firecracker ended at once, from what it and the host program wrote last."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from banger_core.api import BangerError, GuestFailed, HostNotReady
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


async def explain_end(log: Path) -> BangerError:
    """Return the error for a process that ended at once, with its last words in ``log``."""
    words = ""
    # The relay writes them when Firecracker has ended
    for _ in range(_PATIENCE):
        if words := last_words(log):
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


def last_words(log: Path) -> str:
    """Return the line that says most: the host program's own, else the last that is no farewell."""
    try:
        with log.open("rb") as file:
            text = file.read(1 << 16).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [_STAMP.sub("", line.strip()) for line in text.splitlines() if line.strip()]
    for line in lines:
        if line.startswith(MARK):
            return line[:500]
    telling = [line for line in lines if "exiting" not in line and "WARNING" not in line]
    return telling[-1][:500] if telling else ""
