"""What a test must not leave behind: processes and changes of the environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_GRACE = 30.0


def children() -> set[int]:
    """Return the processes that this one started and that still run."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in found if _runs(pid)}


def processes_using(*places: Path) -> set[int]:
    """Return the processes, whosever children, that have one of ``places`` in arguments or
    environment.
    """
    wanted = [os.fsencode(place) for place in places]
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                facts = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if any(place in facts for place in wanted) and _runs(int(entry.name)):
                    found.add(int(entry.name))
    return found


def end(pids: set[int]) -> list[str]:
    """Give processes a moment to end by themselves, kill the others and return their commands."""
    deadline = time.monotonic() + _GRACE
    while (left := {pid for pid in pids if _runs(pid)}) and time.monotonic() < deadline:
        time.sleep(0.02)
    commands = [f"{pid}: {command(pid)[:200]}".rstrip(": ") for pid in sorted(left)]
    for pid in left:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return commands


def changed(before: dict[str, str]) -> list[str]:
    """Return the names of environment variables that are not as ``before``.

    pytest itself keeps ``PYTEST_CURRENT_TEST`` up to date.
    """
    now = dict(os.environ)
    names = before.keys() | now.keys()
    return sorted(
        name for name in names - {"PYTEST_CURRENT_TEST"} if before.get(name) != now.get(name)
    )


def command(pid: int) -> str:
    """Return the command line of a process; empty when it is gone."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        return words.decode(errors="replace").strip()
    return ""


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")
