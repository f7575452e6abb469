"""The sink: one event, one line, on the disk."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from banger_core.api import Context, Event, in_thread

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class AuditLog:
    """Appends to ``file`` of its settings, or to ``audit.jsonl`` in its state."""

    async def handle(self, event: Event, cx: Context) -> None:
        """Append one line and wait until it is on the disk."""
        file = Path(cx.settings.get("file") or cx.state_dir / "audit.jsonl")
        await in_thread(lambda: append(file, line(event)))


def line(event: Event) -> bytes:
    """Return ``event`` as one line of JSON in ASCII: nothing in it can break the line."""
    record: dict[str, Any] = {
        "time": datetime.fromtimestamp(event.time, UTC).isoformat().replace("+00:00", "Z"),
        "kind": event.kind,
        "vm": event.vm,
        "operation": event.operation,
        "user": os.geteuid(),
        "data": dict(event.data),
    }
    return json.dumps(record, default=str).encode("ascii") + b"\n"


def append(file: Path, data: bytes) -> None:
    """Append ``data`` in one write, durably. Raises OSError."""
    handle = os.open(file, _FLAGS, 0o600)
    try:
        os.write(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
