"""Images as files: ``banger image export`` and ``import``."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from banger_core.cli.image_make import finish
from banger_core.cli.link import operate
from banger_core.cli.options import AsJson, ImageName, Quiet
from banger_core.cli.references import absolute_path, with_absolute_path
from banger_core.errors import UsageProblem
from banger_core.sizes import format_size
from banger_core.ui.console import say, tell
from banger_core.ui.jsonout import show_json


def export(
    name: ImageName,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Ends in .tar.zst, or in .tar when it is not to be packed.",
            show_default=False,
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write an image to a file, with its kernel and the digest of every part.

    It needs no network and no registry to become the same image on another host. Shown is its
    SHA-256, as sha256sum has it.
    """
    body = {"file": absolute_path(file), "force": force}
    place = ("images", with_absolute_path(name), "export")
    bundle = operate("POST", *place, body=body, quiet=quiet or as_json)["bundle"]
    if as_json:
        show_json(bundle)
        return
    if not quiet:
        tell(f"{format_size(bundle['size'])} written")
    say(f"{bundle['sha256']}  {file}")


def take(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URL",
            help="Of image export; or a bundle.json or runtime-bundle.toml of the predecessor.",
            show_default=False,
        ),
    ],
    sha256: Annotated[
        str,
        typer.Option(
            "--sha256", metavar="HEX", help="What the file must have.", show_default=False
        ),
    ] = "",
    name: Annotated[
        str,
        typer.Option(
            "--name", metavar="NAME", help="Instead of the name it brings.", show_default=False
        ),
    ] = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make an image of a file, here or on a server (https), once all of it is checked."""
    digest = sha256.lower().removeprefix("sha256:")
    if digest and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise UsageProblem(
            f"--sha256 {sha256[:80]} is no digest",
            cause="it is 64 hexadecimal digits, as sha256sum shows them",
            hints=["leave it away to trust what the file says of itself"],
        )
    place = source if "://" in source else absolute_path(source)
    body = {"source": place, "sha256": digest, "name": name}
    finish(operate("POST", "images", "import", body=body, quiet=quiet or as_json), as_json)
