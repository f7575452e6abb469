"""``banger image``: what machines are made from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from banger_core.cli import values
from banger_core.cli.completers import image_references, one_of
from banger_core.cli.described import described_config
from banger_core.cli.group import Member, Noun, verb
from banger_core.cli.link import fetch, operate
from banger_core.cli.options import AsJson, ImageName, ImageNames, KernelRef, Quiet
from banger_core.cli.references import image_reference, with_absolute_path
from banger_core.sizes import format_size
from banger_core.ui.console import say
from banger_core.ui.human import ago, plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_details, show_table

image = Noun("image", "Images that machines are made from")

_SIZES = ("disk_size", "content_size", "minimum_size")


@verb(image, "pull")
def pull(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="SCHEME://REF, or REF of the default source.",
            autocompletion=image_references,
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it here.", show_default=False)
    ] = None,
    kernel: KernelRef = "",
    size: Annotated[
        str, typer.Option("--size", metavar="SIZE", help="Of its disk.", show_default=False)
    ] = "",
    platform: Annotated[
        str,
        typer.Option(
            "--platform",
            metavar="OS/ARCH",
            help="Which one of several. Default: this host's.",
            show_default=False,
            autocompletion=one_of("linux/amd64", "linux/arm64"),
        ),
    ] = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fetch an image, check it, and make its root file system.

    REF names a source and what it knows: debian://bookworm, oci://python:3.12-slim (or short:
    python:3.12-slim), oci-layout://DIR, docker-archive://FILE.
    """
    body = {
        "ref": image_reference(reference),
        "name": name,
        "kernel": kernel,
        "size": values.size("--size", size) if size else None,
        "platform": platform,
    }
    result = operate("POST", "images", "pull", body=body, quiet=quiet or as_json)
    if as_json:
        show_json(result["image"])
    else:
        say(result["image"]["name"])


@verb(image, "list", aliases=("ls",))
def list_images(as_json: AsJson = False) -> None:
    """List the images that are here."""
    images = fetch("images")["images"]
    if as_json:
        show_json(images)
        return
    facts = ["name", "size", "kernel", "created", "kind", "source"]
    if any(row.get("problem") for row in images):
        facts.append("problem")
    show_table(facts, [[_cell(row, fact) for fact in facts] for row in images])


def _cell(row: dict[str, Any], fact: str) -> str:
    match fact:
        case "size":
            return format_size(row["content_size"])
        case "created":
            return ago(row["created_at"])
        case "source":
            return str(row["ref"])
        case _:
            return str(row.get(fact) or "-")


@verb(image, "show")
def show(name: ImageName, as_json: AsJson = False) -> None:
    """Show everything about an image."""
    row = fetch("images", with_absolute_path(name))
    if as_json:
        show_json(row)
    else:
        show_details(_described(row))


@verb(image, "delete", aliases=("rm",))
def delete(names: ImageNames, quiet: Quiet = False) -> int:
    """Delete images that no machine uses."""
    from banger_core.cli.several import each
    from banger_core.client.client import url
    from banger_core.client.operations import Operation

    return each(
        names,
        lambda client, name: Operation(client, "DELETE", url("images", with_absolute_path(name))),
        quiet=quiet,
    )


for _name, _summary in (
    ("register", "Make an image of files on this host, where they lie"),
    ("promote", "Copy the files of a registered image in"),
    ("build", "Make an image in a machine of another one"),
):
    image.members[_name] = Member(_summary, f"banger_core.cli.image_make:{_name}")
image.members["export"] = Member("Write an image to a file", "banger_core.cli.image_files:export")
image.members["import"] = Member(
    "Make an image of such a file, once all of it is checked", "banger_core.cli.image_files:take"
)
image.members["cache"] = Member(
    "What is kept of images to save downloads", "banger_core.cli.cache:cache"
)


def _described(row: dict[str, Any]) -> dict[str, str | list[str]]:
    apart = ("config", "files")
    shown: dict[str, Any] = {name: plain(row[name]) for name in row if name not in apart}
    if files := row.get("files"):
        shown["files"] = [f"{part}: {path}" for part, path in files.items()]
    for name in _SIZES:
        if row.get(name) is not None:
            shown[name] = format_size(row[name])
    shown["created_at"] = ago(row["created_at"])
    return {**shown, **described_config(row.get("config") or {})}
