"""``banger stock``: imported when it is typed."""

from __future__ import annotations

from typing import Annotated

import typer

from banger_core.api import AsJson, Noun, fetch, format_size, show_json, show_table, tell, verb

stock = Noun("stock", "Which images are in use, and by whom")


@verb(stock, "images")
def images(
    unused: Annotated[bool, typer.Option("--unused", help="Only images of no machine.")] = False,
    as_json: AsJson = False,
) -> None:
    """List images with their machines, the largest first."""
    found = [image for image in fetch("images")["images"] if not (unused and image["used_by"])]
    found.sort(key=lambda image: -image["content_size"])
    if as_json:
        keys = ("name", "content_size", "used_by")
        show_json([{key: image[key] for key in keys} for image in found])
    elif not found:
        tell("there is no such image")
    else:
        show_table(
            ("image", "size", "machines"),
            [(i["name"], format_size(i["content_size"]), ", ".join(i["used_by"])) for i in found],
        )
