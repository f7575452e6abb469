"""What a QEMU that ended said last."""

from __future__ import annotations

from pathlib import Path

from banger_core.api import BangerError, Conflict, GuestFailed, last_words
from banger_qemu.machines import without_name


def last_line(directory: Path) -> str:
    """Return the last line that the QEMU spawned for ``directory`` wrote, without its name before
    it.
    """
    lines = last_words(directory)
    return without_name(lines[-1]) if lines else ""


def explain_end(words: str) -> BangerError:
    """Return the error for a QEMU that ended at once, saying ``words``."""
    if "host forwarding rule" in words:
        return Conflict("a port of the host is taken", cause=words, hints=["ss -ltnp"])
    return GuestFailed("QEMU ended at once", cause=words or "it said nothing")
