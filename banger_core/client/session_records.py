"""What is known here of sessions that ended with their machine.

A machine keeps its sessions in memory: when it stops, nothing of them is left there. Of each one
that was started, a record lies beside the machine's disks, and goes with them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from banger_core.client.guest_sessions import SESSIONS_MAX, GuestSession


class SessionRecords:
    """The records of one machine. ``home`` is the directory that is removed with it, and
    ``machine_began`` is when it was started last, None when it does not run.
    """

    def __init__(self, home: Path, machine_began: float | None) -> None:
        self._home, self._began = home / "sessions", machine_began

    def add(self, name: str, command: Sequence[str], *, tty: bool, user: str, now: float) -> None:
        """Remember that the session ``name`` was started at ``now`` (seconds since the epoch)."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = {"command": list(command), "tty": tty, "user": user, "started_at": int(now)}
        text = json.dumps({**record, "machine_began": self._began})
        made = self._home / f".{name}.{os.getpid()}"
        made.write_text(text)
        made.replace(self._place(name))
        oldest = sorted(self._home.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in oldest[:-SESSIONS_MAX]:
            path.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Forget a session."""
        self._place(name).unlink(missing_ok=True)

    def lost(self, known: Collection[str]) -> list[GuestSession]:
        """Return those that the machine took along when it stopped; ``known`` are the names of
        those that it has now.
        """
        found = [
            self._read(path) for path in sorted(self._home.glob("*.json")) if path.stem not in known
        ]
        return [each for each in found if each is not None]

    def _place(self, name: str) -> Path:
        return self._home / f"{name}.json"

    def _read(self, path: Path) -> GuestSession | None:
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            if data["machine_began"] == self._began:
                # The machine had more sessions than it keeps, and forgot it
                return None
            return GuestSession(
                name=path.stem,
                state="ended",
                tty=data["tty"],
                command=tuple(data["command"]),
                user=data["user"],
                pid=None,
                started_at=data["started_at"],
                ended_at=None,
                status=None,
                machine_stopped=True,
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None
