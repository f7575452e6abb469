"""``banger vm set`` and ``prune``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from banger_core.cli import values
from banger_core.cli.completers import label_keys, names_of
from banger_core.cli.link import link
from banger_core.cli.options import DiskSize, Labels, Links, Memory, Nat, Quiet, Vcpu, VmRefs
from banger_core.cli.several import each, each_vm
from banger_core.client.client import url
from banger_core.client.operations import Operation
from banger_core.errors import Interrupted, UsageProblem
from banger_core.ui.console import is_terminal, say, tell

DONE = ("stopped", "failed")
"""States of machines that ``prune`` deletes."""


def set_vm(
    references: VmRefs,
    vcpu: Vcpu = None,
    memory: Memory = "",
    disk_size: DiskSize = "",
    work_disk: Annotated[
        str,
        typer.Option("--work-disk", metavar="SIZE", help="Its disk for /root.", show_default=False),
    ] = "",
    nat: Nat = None,
    link_with: Links = [],  # noqa: B006
    unlink: Annotated[
        list[str],
        typer.Option(
            "--unlink",
            metavar="VM",
            help="Let it and that machine not reach each other. May be repeated.",
            autocompletion=names_of("vms"),
        ),
    ] = [],  # noqa: B006
    label: Labels = [],  # noqa: B006  (typer reads defaults, nobody writes them)
    unlabel: Annotated[
        list[str],
        typer.Option(
            "--unlabel", metavar="KEY", help="May be repeated.", autocompletion=label_keys
        ),
    ] = [],  # noqa: B006
    quiet: Quiet = False,
) -> int:
    """Change machines. What is not named stays as it is.

    Labels can be changed at any time, and on the network bridge links and the way out, too;
    everything else when a machine is stopped. Disks only grow; their file systems follow at the
    next start.
    """
    body: dict[str, Any] = {
        "vcpu": None if vcpu is None else values.cpus(vcpu),
        "memory": values.size("--memory", memory) if memory else None,
        "disk_size": values.size("--disk-size", disk_size) if disk_size else None,
        "work_disk": values.size("--work-disk", work_disk) if work_disk else None,
        "nat": nat,
        "link": link_with,
        "unlink": unlink,
        "labels": values.labels(label),
        "unlabel": unlabel,
    }
    if all(value in (None, {}, []) for value in body.values()):
        raise UsageProblem(
            "nothing is to be changed",
            hints=["banger vm set NAME --memory 2G", "banger vm set --help"],
        )
    return each_vm(
        references,
        lambda client, name: Operation(client, "POST", url("vms", name, "set"), body),
        quiet=quiet,
    )


def prune(
    label: Labels = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write which they are, and delete nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
    warm: Annotated[
        bool,
        typer.Option("--warm", help="Remove what machines begin as instead, and no machine."),
    ] = False,
    quiet: Quiet = False,
) -> int:
    """Delete all machines that are stopped, with their disks.

    With --label, only those that have all these labels. With --warm no machine is deleted: what
    was saved for warm starts goes, and is made anew when it is missed.
    """
    if warm:
        return _prune_warm(label, dry_run=dry_run, quiet=quiet)
    wanted = values.labels(label)
    rows = [
        row
        for row in link().get(url("vms"))["vms"]
        if row["state"] in DONE and wanted.items() <= row["labels"].items()
    ]
    if dry_run or not rows:
        for row in rows:
            say(row["name"])
        if not rows and not quiet:
            tell("no machine is stopped")
        return 0
    if not force:
        _ask([row["name"] for row in rows])
    # Without force there: one that somebody starts meanwhile stays
    return each(
        [row["name"] for row in rows],
        lambda client, name: Operation(client, "DELETE", url("vms", name)),
        quiet=quiet,
    )


def _prune_warm(label: list[str], *, dry_run: bool, quiet: bool) -> int:
    from banger_core.cli.vm_warm import prune_warm

    if label:
        raise UsageProblem(
            "--warm and --label exclude each other",
            cause="what is saved for warm starts belongs to no machine",
            hints=["banger vm prune --warm"],
        )
    return prune_warm(dry_run=dry_run, quiet=quiet)


def _ask(names: list[str]) -> None:
    """Ask whether these may be deleted. Raises UsageProblem where nobody can be asked, and
    Interrupted for anything but yes.
    """
    if not is_terminal(sys.stdin):
        raise UsageProblem(
            f"{len(names)} machines would be deleted",
            cause="nobody can be asked: stdin is no terminal",
            hints=["banger vm prune --dry-run", "banger vm prune --force"],
        )
    for name in names:
        tell(name)
    tell("These machines and all that is on their disks will be deleted. Go on? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Interrupted("nothing was deleted", cause="the answer was not yes")
