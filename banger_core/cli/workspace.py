"""``banger vm workspace``: a git checkout goes into a machine, a patch comes out."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banger_core.cli.copy import connected, reporting
from banger_core.cli.group import Noun, verb
from banger_core.cli.link import fetch
from banger_core.cli.options import AsJson, Quiet, VmRef
from banger_core.config.paths import Paths
from banger_core.errors import UsageProblem
from banger_core.ui.console import printable, say, tell
from banger_core.ui.jsonout import show_json

if TYPE_CHECKING:
    from banger_core.client.checkout import Checkout
    from banger_core.client.workspace import Workspace, Workspaces

workspace = Noun("workspace", "Git checkouts in machines")

Folder = Annotated[
    Path, typer.Argument(metavar="PATH", help="A directory of the checkout.", show_default=".")
]
Untracked = Annotated[
    bool,
    typer.Option("--include-untracked", help="Send files that git does not know yet, too."),
]
Branch = Annotated[
    str, typer.Option("--branch", metavar="NAME", help="The branch in the machine; else as here.")
]
Start = Annotated[
    str, typer.Option("--from", metavar="COMMIT", help="Send this commit, not the files here.")
]
SkipSubmodules = Annotated[
    bool, typer.Option("--skip-submodules", help="Leave submodules out, instead of refusing.")
]
To = Annotated[
    str,
    typer.Option("--to", metavar="DIR", help="Its directory in the machine; else its name."),
]


@verb(workspace, "prepare")
def prepare(
    vm: VmRef,
    path: Folder = Path(),
    untracked: Untracked = False,
    branch: Branch = "",
    start: Start = "",
    to: To = "",
    skip_submodules: SkipSubmodules = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which files would go in; send nothing.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Send a git checkout into a machine: the files that git knows, as they are now.

    The machine gets a repository with the commit that is checked out here and no history, no
    remotes and no configuration. Nothing here changes.
    """
    from banger_core.client.checkout import Choice, look
    from banger_core.client.session import check_directory
    from banger_core.client.workspace import default_directory

    checkout = look(
        path, Choice(untracked=untracked, start=start, branch=branch, submodules=skip_submodules)
    )
    directory = check_directory(to or default_directory(checkout.top), "--to")
    if dry_run:
        _show_plan(checkout, directory, as_json=as_json)
        return
    made, files = send(vm, checkout, directory, quiet=quiet or as_json)
    if as_json:
        show_json({**asdict(made), "files": files})
    elif not quiet:
        for name in checkout.submodules:
            tell(f"left out, for it is a submodule: {printable(os.fsdecode(name))}")
        tell(f"{files} files of {checkout.top} are in {vm}:{directory}")
        tell(f"what is done there: banger vm workspace export {vm} | git apply")


@verb(workspace, "export")
def export(
    vm: VmRef,
    directory: Annotated[
        str, typer.Option("--dir", metavar="DIR", help="Which, when the machine has several.")
    ] = "",
    base: Annotated[
        str,
        typer.Option(
            "--base-commit", metavar="COMMIT", help="What to compare with; else what was sent."
        ),
    ] = "",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write it, not stdout.")
    ] = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write what was done in a workspace as a patch for git apply. The machine stays as it is.

    It holds changed, new, renamed and removed files, binary ones too, but not those that git
    ignores there.
    """
    if as_json and not output:
        raise UsageProblem(
            "--json needs --output",
            cause="the patch goes to stdout otherwise",
            hints=["--output work.patch"],
        )
    known = _workspaces(vm)
    one = known.find(directory)
    with reporting(quiet=quiet or as_json) as report, connected(vm, resume=False) as session:
        patch = known.export(session, one, report, base=base)
    if output:
        Path(output).write_bytes(patch.text)
    else:
        sys.stdout.buffer.write(patch.text)
    if as_json:
        show_json({**asdict(one), "files": list(patch.files), "output": output})
    elif not quiet:
        tell(f"{len(patch.files)} files differ in {vm}:{one.directory}")


@verb(workspace, "list", aliases=("ls",))
def list_all(vm: VmRef, as_json: AsJson = False) -> None:
    """List the workspaces of a machine."""
    from banger_core.ui.tables import show_table

    found = _workspaces(vm).all()
    if as_json:
        show_json([asdict(each) for each in found])
        return
    rows = [(each.directory, each.commit[:12], each.top) for each in found]
    show_table(("directory", "commit", "checkout"), rows)


def send(vm: str, checkout: Checkout, directory: str, *, quiet: bool) -> tuple[Workspace, int]:
    """Send a checkout into a machine; returns the workspace and how many files there are."""
    from banger_core.client.checkout import names_of

    with reporting(quiet=quiet) as report, connected(vm, resume=False) as session:
        made = _workspaces(vm).prepare(session, checkout, directory, report)
    return made, len(names_of(checkout))


def _workspaces(vm: str) -> Workspaces:
    from banger_core.client.workspace import Workspaces

    record: dict[str, Any] = fetch("vms", vm)
    home = Paths.from_environment().vm_state(record["id"])
    return Workspaces(home, record["name"])


def _show_plan(checkout: Checkout, directory: str, *, as_json: bool) -> None:
    from banger_core.client.checkout import names_of

    files = [os.fsdecode(name) for name in names_of(checkout)]
    if as_json:
        show_json(
            {
                "directory": directory,
                "top": str(checkout.top),
                "commit": checkout.commit,
                "branch": checkout.branch,
                "files": files,
            }
        )
        return
    for name in files:
        say(printable(name))
    tell(f"{len(files)} files of {checkout.top} would go to {directory}")
