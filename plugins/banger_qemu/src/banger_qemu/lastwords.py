"""What a QEMU that ended said last."""

from __future__ import annotations

from pathlib import Path

from banger_core.api import BangerError, Conflict, GuestFailed
from banger_qemu.machines import without_name


def last_words(log: Path) -> str:
    """Return the last line that QEMU wrote, without its name before it."""
    try:
        with log.open("rb") as file:
            text = file.read(1 << 16).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return without_name(lines[-1]) if lines else ""


def explain_end(words: str) -> BangerError:
    """Return the error for a QEMU that ended at once, saying ``words``."""
    if "host forwarding rule" in words:
        return Conflict("a port of the host is taken", cause=words, hints=["ss -ltnp"])
    return GuestFailed("QEMU ended at once", cause=words or "it said nothing")
