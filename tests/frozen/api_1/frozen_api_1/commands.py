"""``banger frozen``: imported when it is typed."""

from __future__ import annotations

from typing import Annotated

import typer

from banger_core.api import AsJson, Noun, ask, fetch, say, show_json, show_table, tell, verb

frozen = Noun("frozen", "Adds a command to banger")


@verb(frozen, "list", aliases=("ls",))
def list_machines(
    state: Annotated[
        str, typer.Option("--state", metavar="STATE", help="Only machines that are so.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List machines and the images that they were made of."""
    rows = [vm for vm in fetch("vms")["vms"] if not state or vm["state"] == state]
    if as_json:
        show_json([{"name": vm["name"], "image": vm["image"]} for vm in rows])
    elif not rows:
        tell("there is no such machine")
    else:
        show_table(("name", "state", "image"), [(v["name"], v["state"], v["image"]) for v in rows])


@verb(frozen, "greet")
def greet(name: Annotated[str, typer.Argument(help="Whom.")] = "world") -> None:
    """Greet somebody."""
    say(ask("frozen", "greeting", name=name)["text"])
