"""What this plugin declares."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.api import Command, hookimpl

BANGER_API = 1


@hookimpl
def banger_commands() -> Iterable[Command]:
    """One noun; its module is imported when it is typed."""
    yield Command(
        name="stock",
        summary="Which images are in use, and by whom",
        load="stock.commands:stock",
    )
