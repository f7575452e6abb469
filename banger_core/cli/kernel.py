"""``banger kernel``: the kernels that machines boot."""

from __future__ import annotations

from typing import Annotated

import typer

from banger_core.cli.group import Noun, verb
from banger_core.cli.link import fetch, operate
from banger_core.cli.options import AsJson, KernelName, KernelNames, Quiet
from banger_core.ui.console import say
from banger_core.ui.human import plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_details, show_table

kernel = Noun("kernel", "Kernels on this host and on offer")


@verb(kernel, "list", aliases=("ls",))
def list_kernels(
    available: Annotated[
        bool, typer.Option("--available", help="Those that can be pulled.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List kernels: those that are here, or those on offer."""
    kernels = fetch("kernels", available=available)["kernels"]
    if as_json:
        show_json(kernels)
        return
    last = "provider" if available else "problem"
    show_table(
        ("name", "version", "distro", "arch", last),
        [
            (row["name"], row["version"], row["distro"], row["architecture"], row.get(last) or "-")
            for row in kernels
        ],
    )


@verb(kernel, "show")
def show(name: KernelName, as_json: AsJson = False) -> None:
    """Show everything about a kernel that is here."""
    row = fetch("kernels", name)
    if as_json:
        show_json(row)
    else:
        show_details({key: plain(value) for key, value in row.items()})


@verb(kernel, "pull")
def pull(
    name: KernelName,
    force: Annotated[bool, typer.Option("--force", help="Replace one of this name.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a kernel and check it."""
    body = {"name": name, "force": force}
    result = operate("POST", "kernels", "pull", body=body, quiet=quiet or as_json)
    if as_json:
        show_json(result["kernel"])
    else:
        say(result["kernel"]["name"])


@verb(kernel, "rm", aliases=("delete",))
def remove(names: KernelNames, quiet: Quiet = False) -> int:
    """Remove kernels; images keep their own copies."""
    from banger_core.cli.several import each
    from banger_core.client.client import url
    from banger_core.client.operations import Operation

    return each(
        names,
        lambda client, name: Operation(client, "DELETE", url("kernels", name)),
        quiet=quiet,
    )
