"""``banger vm snapshot``: machines as they were, with memory and disks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from banger_core.cli.completers import names_of, snapshots
from banger_core.cli.group import Noun, verb
from banger_core.cli.link import fetch, link
from banger_core.cli.options import AsJson, Quiet, VmRef
from banger_core.ui.console import say
from banger_core.ui.human import ago
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_table

snapshot = Noun("snapshot", "Machines as they were, with memory and disks")

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False, autocompletion=snapshots)]


@verb(snapshot, "create")
def create(
    reference: VmRef,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Else s1, s2 and so on.", show_default=False)
    ] = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Keep a machine as it is now: memory, running programs, disks.

    The machine stands still for a moment and goes on. It may be paused, too.
    """
    made = _follow("POST", (reference, "snapshots"), {"name": name}, quiet=quiet or as_json)
    if as_json:
        show_json(made["snapshot"])
    else:
        say(made["snapshot"]["name"])


@verb(snapshot, "list", aliases=("ls",))
def list_snapshots(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="VM",
            help="Else those of all machines.",
            show_default=False,
            autocompletion=names_of("vms"),
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List snapshots, and what each needs where it is restored."""
    path = ("vms", reference, "snapshots") if reference else ("snapshots",)
    rows = fetch(*path)["snapshots"]
    if as_json:
        show_json(rows)
        return
    from banger_core.sizes import format_size

    show_table(
        ("machine", "name", "size", "created", "needs"),
        [
            (
                row["vm"],
                row["name"],
                format_size(row["size"]) if row["size"] else "gone",
                ago(row["created_at"]),
                _needs(row["needs"]),
            )
            for row in rows
        ],
    )


@verb(snapshot, "restore")
def restore(reference: VmRef, name: Name, quiet: Quiet = False) -> None:
    """Have a machine go on where a snapshot of it was taken.

    What it did since is lost: memory and disks are as they were. A machine that runs is ended
    first, once the snapshot has been checked. When it cannot go on, it is stopped and has the
    disks that it had.
    """
    done = _follow("POST", (reference, "snapshots", name, "restore"), {}, quiet=quiet)
    say(done["vm"]["name"])


@verb(snapshot, "delete", aliases=("rm",))
def delete(
    reference: VmRef,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME…", show_default=False, autocompletion=snapshots),
    ],
    quiet: Quiet = False,
) -> None:
    """Delete snapshots of a machine."""
    body = {"names": list(dict.fromkeys(names))}
    _follow("DELETE", (reference, "snapshots"), body, quiet=quiet)
    for name in body["names"]:
        say(name)


def fork(
    reference: VmRef,
    count: Annotated[
        int, typer.Option("-n", "--count", min=1, max=100, metavar="N", help="How many.")
    ] = 1,
    name: Annotated[
        str,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Their name, with numbers if several.",
            show_default=False,
        ),
    ] = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Copy a machine as it runs: the copies go on with its memory, programs and disks.

    Each is a machine of its own, with a name, addresses, host keys, a machine id and random
    numbers of its own before it can be reached; its disks are its own. What programs keep in
    memory, such as keys and tokens, all copies have.
    """
    body = {"count": count, "name": name}
    made = _follow("POST", (reference, "fork"), body, quiet=quiet or as_json)["vms"]
    if as_json:
        show_json(made)
        return
    for each in made:
        say(each["name"])


def _needs(needs: dict[str, str]) -> str:
    """What people look for; ``--json`` has all of it."""
    shown = {name: value for name, value in needs.items() if name not in ("devices", "kernel")}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _follow(method: str, path: tuple[str, ...], body: Any, *, quiet: bool) -> dict[str, Any]:
    from banger_core.client.client import url
    from banger_core.client.operations import Operation, follow
    from banger_core.ui.progress import progress

    with progress(quiet=quiet) as show:
        done: dict[str, Any] = follow(Operation(link(), method, url("vms", *path), body), show)
    return done
