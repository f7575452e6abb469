"""``banger vm prune --warm``."""

from __future__ import annotations

from banger_core.cli.link import operate
from banger_core.sizes import format_size
from banger_core.ui.console import tell
from banger_core.ui.human import ago
from banger_core.ui.tables import show_table


def prune_warm(*, dry_run: bool, quiet: bool) -> int:
    """Remove the saved machines, or only show them, and say how much room that gives."""
    items = operate("POST", "warm", "prune", body={"dry_run": dry_run}, quiet=quiet)["items"]
    if quiet:
        return 0
    if not items:
        tell("no machine is saved for warm starts")
        return 0
    show_table(
        ("size", "used", "name"),
        [(format_size(item["size"]), ago(item["used_at"]), item["name"]) for item in items],
    )
    freed = format_size(sum(item["size"] for item in items))
    tell(f"{freed} {'would be freed' if dry_run else 'freed'}")
    return 0
