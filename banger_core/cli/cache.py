"""``banger image cache``: what image sources keep to save downloads."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from banger_core.cli import values
from banger_core.cli.group import Noun, verb
from banger_core.cli.link import operate
from banger_core.cli.options import AsJson, Quiet
from banger_core.sizes import format_size
from banger_core.ui.console import tell
from banger_core.ui.human import ago
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_table

cache = Noun("cache", "What is kept of images to save downloads")


@verb(cache, "list", aliases=("ls",))
def list_items(as_json: AsJson = False) -> None:
    """List what is kept and not in use, longest unused first."""
    items = _prune(keep=0, dry_run=True, quiet=True)
    if as_json:
        show_json(items)
    else:
        _show(items, "can be freed: banger image cache prune", quiet=False)


@verb(cache, "prune")
def prune(
    keep: Annotated[
        str,
        typer.Option(
            "--keep",
            metavar="SIZE",
            help="Leave so much of each source's, what was used last. Default: nothing.",
            show_default=False,
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Remove what was kept, longest unused first.

    Images stay as they are, and so does what a pull uses now: the next pull fetches again what
    it needs.
    """
    least = 0 if keep in ("", "0") else values.size("--keep", keep)
    items = _prune(keep=least, dry_run=dry_run, quiet=quiet or as_json)
    if as_json:
        show_json(items)
    else:
        _show(items, "would be freed" if dry_run else "freed", quiet=quiet)


def _prune(*, keep: int, dry_run: bool, quiet: bool) -> list[dict[str, Any]]:
    body = {"keep": keep, "dry_run": dry_run}
    items = operate("POST", "images", "cache", "prune", body=body, quiet=quiet)["items"]
    return sorted(items, key=lambda item: item["used_at"])


def _show(items: list[dict[str, Any]], what_happens: str, *, quiet: bool) -> None:
    if quiet:
        return
    if not items:
        tell("nothing is kept that is not in use")
        return
    show_table(
        ("source", "size", "used", "name"),
        [
            (
                item["source"],
                format_size(item["size"]),
                ago(item["used_at"]),
                item["name"] + (" (partial)" if item["partial"] else ""),
            )
            for item in items
        ],
    )
    tell(f"{format_size(sum(item['size'] for item in items))} {what_happens}")
