"""``banger vm``: virtual machines."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from banger_core.cli.group import OPTIONS_FIRST, TAKES_THE_REST, DashedCommand, Member, Noun, verb
from banger_core.cli.link import fetch, link
from banger_core.cli.options import AsJson, Quiet, VmRef, VmRefs
from banger_core.ui.human import ago, plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_details, show_table

_LIFE = "banger_core.cli.vm_life"
_CHANGE = "banger_core.cli.vm_change"
_LOOK = "banger_core.cli.vm_look"

vm = Noun(
    "vm",
    "Virtual machines: run, list, start, stop, reach",
    {
        "run": Member(
            "Make a machine, start it, and give a shell or run a command",
            "banger_core.cli.run:run",
            cls=DashedCommand,
        ),
        "create": Member("Make a machine without starting it", "banger_core.cli.run:create"),
        "ssh": Member(
            "Open a shell in a machine", "banger_core.cli.reach:ssh", settings=TAKES_THE_REST
        ),
        "exec": Member(
            "Run a command in a machine", "banger_core.cli.reach:execute", settings=OPTIONS_FIRST
        ),
        "cp": Member("Copy files into a machine or out of it", "banger_core.cli.copy:copy"),
        "workspace": Member("Git checkouts in machines", "banger_core.cli.workspace:workspace"),
        "session": Member(
            "Named programs in machines that go on by themselves",
            "banger_core.cli.vm_session:session",
        ),
        "start": Member("Start machines and wait until they answer", f"{_LIFE}:start"),
        "stop": Member("Stop machines; their disks are kept", f"{_LIFE}:stop"),
        "restart": Member("Stop machines and start them again", f"{_LIFE}:restart"),
        "pause": Member("Let machines stand still as they are", f"{_LIFE}:pause"),
        "resume": Member("Let paused machines go on, and set their clocks", f"{_LIFE}:resume"),
        "kill": Member("End machines at once, without asking them", f"{_LIFE}:kill"),
        "set": Member("Change machines: CPUs, memory, disks, labels", f"{_CHANGE}:set_vm"),
        "prune": Member("Delete machines that are stopped", f"{_CHANGE}:prune"),
        "snapshot": Member(
            "Machines as they were, with memory and disks", "banger_core.cli.snapshot:snapshot"
        ),
        "fork": Member(
            "Copy a machine as it runs, each copy with an identity of its own",
            "banger_core.cli.snapshot:fork",
        ),
        "stats": Member("Show what machines use", f"{_LOOK}:stats"),
        "ports": Member("List what listens in a machine, and where to reach it", f"{_LOOK}:ports"),
        "health": Member("Check how machines are", f"{_LOOK}:health"),
    },
)


@verb(vm, "list", aliases=("ls",))
def list_vms(as_json: AsJson = False) -> None:
    """List virtual machines."""
    vms = fetch("vms")["vms"]
    if as_json:
        show_json(vms)
        return
    show_table(
        ("name", "state", "address", "created", "image"),
        [
            (row["name"], row["state"], row["address"], ago(row["created_at"]), row["image"])
            for row in vms
        ],
    )


@verb(vm, "show")
def show_vm(reference: VmRef, as_json: AsJson = False) -> None:
    """Show everything about a virtual machine."""
    row = fetch("vms", reference)
    if as_json:
        show_json(row)
        return
    show_details(_described(row))


@verb(vm, "delete", aliases=("rm",))
def delete(
    references: VmRefs,
    force: Annotated[bool, typer.Option("--force", "-f", help="Also when they run.")] = False,
    quiet: Quiet = False,
) -> int:
    """Delete machines and everything that was made for them."""
    from banger_core.cli.several import each_vm
    from banger_core.client.client import url
    from banger_core.client.operations import Operation

    return each_vm(
        references,
        lambda client, name: Operation(client, "DELETE", url("vms", name, force=force)),
        quiet=quiet,
    )


@verb(vm, "logs")
def logs(
    reference: VmRef,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Keep the guest's escape sequences.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", min=1, metavar="BYTES", help="Only the end.")
    ] = None,
) -> None:
    """Show what a machine's serial console said."""
    from banger_core.client.client import url

    target = url("vms", reference, "logs", follow=follow, raw=raw, tail=tail)
    for piece in link().text(target):
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _described(row: dict[str, Any]) -> dict[str, str]:
    from banger_core.sizes import format_size

    # What the image says about programs is long, and ``image show`` has it
    shown = {name: plain(value) for name, value in row.items() if name != "config"}
    for name in ("memory", "disk_size", "work_disk"):
        shown[name] = format_size(row[name]) if row.get(name) else "-"
    for name in ("created_at", "started_at"):
        shown[name] = ago(row[name])
    return shown
