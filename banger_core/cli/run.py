"""``banger vm run`` and ``vm create``: from words to a ``VmRequest``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banger_core.cli import values
from banger_core.cli.group import AFTER_DASHES
from banger_core.cli.link import operate
from banger_core.cli.options import (
    Acceleration,
    AsJson,
    Cold,
    DiskSize,
    Driver,
    Entrypoint,
    HostAccess,
    Image,
    KernelRef,
    Labels,
    Links,
    Memory,
    Name,
    Nat,
    Network,
    Published,
    Quiet,
    Terminal,
    User,
    Vcpu,
    WorkDisk,
)
from banger_core.cli.references import image_reference, is_path
from banger_core.client.lease import own_process
from banger_core.client.project import current_project
from banger_core.errors import UsageProblem
from banger_core.jsonable import to_json
from banger_core.model import Accel, VmRequest
from banger_core.sizes import format_size
from banger_core.ui.console import say, tell
from banger_core.ui.human import plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_details

if TYPE_CHECKING:
    from banger_core.client.checkout import Checkout

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan, and make nothing.")]


def run(
    ctx: typer.Context,
    image: Image = "",
    name: Name = None,
    vcpu: Vcpu = None,
    memory: Memory = "",
    disk_size: DiskSize = "",
    work_disk: WorkDisk = "",
    network: Network = "",
    publish: Published = [],  # noqa: B006
    nat: Nat = None,
    link: Links = [],  # noqa: B006
    host_access: HostAccess = False,
    driver: Driver = "",
    accel: Acceleration = "auto",
    kernel: KernelRef = "",
    cold: Cold = False,
    label: Labels = [],  # noqa: B006  (typer reads defaults, nobody writes them)
    remove: Annotated[bool, typer.Option("--rm", help="Delete it afterwards.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Leave it running and write its name.")
    ] = False,
    tty: Terminal = None,
    user: User = "",
    entrypoint: Entrypoint = False,
    dry_run: DryRun = False,
    workspace: Annotated[
        str,
        typer.Option(
            "--workspace", metavar="PATH", help="Send a git checkout in, and begin there."
        ),
    ] = "",
    untracked: Annotated[
        bool, typer.Option("--include-untracked", help="With files that git does not know yet.")
    ] = False,
    foreground: Annotated[
        bool,
        typer.Option("--foreground", help="Be the machine, without a daemon; needs --spec."),
    ] = False,
    spec: Annotated[
        str, typer.Option("--spec", metavar="FILE", help="What to run (JSON or TOML, - for stdin).")
    ] = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Make a machine, start it, and give a shell or run a command.

    IMAGE may be a path (., ./here): then a machine of the default image gets the git checkout
    there, and that is where it begins.

    Without a command it gives a shell (or runs the commands that it reads from stdin). A
    command stands after --; its output and exit status are the machine's, and Ctrl-C goes
    there. Afterwards the machine is stopped and kept, unless --rm or -d says otherwise.
    """
    command = ctx.meta.get(AFTER_DASHES)
    if foreground or spec:
        from banger_core.cli.foreground import run_foreground

        return run_foreground(ctx, spec if foreground else "", command)
    if is_path(image):
        image, workspace = "", image
    _check(command, remove=remove, detach=detach, as_json=as_json and not dry_run)
    if detach:
        _check_nobody_waits(command, user=user, entrypoint=entrypoint, workspace=workspace)
    request = replace(
        _request(
            image, name, vcpu, memory, disk_size, network, publish, driver, accel, kernel, label
        ),
        work_disk=values.work_disk(work_disk),
        nat=nat,
        link=tuple(link),
        cold=cold,
        host_access=host_access,
        entrypoint=entrypoint,
        ephemeral=remove,
        lease=own_process() if remove else None,
    )
    if detach or dry_run:
        return _make(request, start=True, dry_run=dry_run, quiet=quiet, as_json=as_json)
    from banger_core.cli.journey import Journey
    from banger_core.client.process import check_program
    from banger_core.client.session import as_user, check_command

    # What the session will need is asked for while there is no machine yet
    check_command(command or [])
    if user:
        as_user(user)
    check_program("ssh")
    checkout = _checkout(workspace, untracked=untracked)
    return Journey(request, command or [], pty=tty, user=user, quiet=quiet, checkout=checkout).go()


def _checkout(path: str, *, untracked: bool) -> Checkout | None:
    if not path:
        if untracked:
            raise UsageProblem(
                "--include-untracked is about a checkout",
                cause="none is sent in",
                hints=["banger vm run . --include-untracked"],
            )
        return None
    from banger_core.client.checkout import Choice, look

    return look(Path(path).expanduser(), Choice(untracked=untracked))


def create(
    image: Image = "",
    name: Name = None,
    vcpu: Vcpu = None,
    memory: Memory = "",
    disk_size: DiskSize = "",
    work_disk: WorkDisk = "",
    network: Network = "",
    publish: Published = [],  # noqa: B006
    nat: Nat = None,
    link: Links = [],  # noqa: B006
    host_access: HostAccess = False,
    driver: Driver = "",
    accel: Acceleration = "auto",
    kernel: KernelRef = "",
    cold: Cold = False,
    label: Labels = [],  # noqa: B006  (typer reads defaults, nobody writes them)
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Make a machine without starting it, and write its name."""
    request = replace(
        _request(
            image, name, vcpu, memory, disk_size, network, publish, driver, accel, kernel, label
        ),
        work_disk=values.work_disk(work_disk),
        nat=nat,
        link=tuple(link),
        cold=cold,
        host_access=host_access,
    )
    return _make(request, start=False, dry_run=dry_run, quiet=quiet, as_json=as_json)


def _request(
    image: str,
    name: str | None,
    vcpu: int | None,
    memory: str,
    disk_size: str,
    network: str,
    publish: list[str],
    driver: str,
    accel: Accel,
    kernel: str,
    label: list[str],
) -> VmRequest:
    return VmRequest(
        project=current_project(),
        image=image_reference(image) if image else "",
        name=None if name is None else values.vm_name(name),
        vcpu=None if vcpu is None else values.cpus(vcpu),
        memory=values.size("--memory", memory) if memory else None,
        disk_size=values.size("--disk-size", disk_size) if disk_size else None,
        network=network,
        publish=values.ports(publish),
        driver=driver,
        kernel=kernel,
        accel=accel,
        labels=values.labels(label),
    )


def _check(command: list[str] | None, *, remove: bool, detach: bool, as_json: bool) -> None:
    if command == []:
        raise UsageProblem(
            "there is no command after --",
            cause="a command for the machine stands there",
            hints=["leave -- away for a shell"],
        )
    if detach and remove:
        raise UsageProblem(
            "--rm and -d exclude each other",
            cause="with --rm the machine is deleted when this command ends, with -d it stays",
            hints=["leave one of them away"],
        )
    if as_json and not detach:
        raise UsageProblem(
            "--json needs -d or --dry-run",
            cause="otherwise stdout belongs to the machine",
            hints=["banger vm run -d --json"],
        )


def _check_nobody_waits(
    command: list[str] | None, *, user: str, entrypoint: bool, workspace: str
) -> None:
    """Refuse what is said of a session together with -d, which gives none."""
    hints = ["banger vm run -d --name NAME, then: banger vm exec NAME -- COMMAND"]
    if entrypoint:
        hints = ["banger vm run -d --name NAME, then: banger vm exec --entrypoint NAME"]
    if workspace:
        hints = [
            f"banger vm run -d --name NAME, then: banger vm workspace prepare NAME {workspace}"
        ]
    given = {
        "a checkout": workspace,
        "a command": command,
        "--entrypoint": entrypoint,
        "--user": user,
    }
    for what, asked in given.items():
        if asked:
            raise UsageProblem(
                f"-d and {what} exclude each other",
                cause="with -d nobody waits for what the command says",
                hints=hints,
            )


def _make(request: VmRequest, *, start: bool, dry_run: bool, quiet: bool, as_json: bool) -> int:
    body = {"request": to_json(request), "start": start, "dry_run": dry_run}
    result = operate("POST", "vms", body=body, quiet=quiet or as_json)
    if dry_run:
        (show_json if as_json else _show_plan)(result["plan"])
    elif as_json:
        show_json(result["vm"])
    else:
        name = result["vm"]["name"]
        say(name)
        if not quiet:
            tell(f"next: banger ssh {name}" if start else f"next: banger vm start {name}")
    return 0


def _show_plan(plan: dict[str, Any]) -> None:
    settings = {name: setting["value"] for name, setting in plan.get("ssh", {}).items()}
    show_details(dict(_flat({**plan, "ssh": settings})))


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, item in value.items():
        if isinstance(item, dict) and item and name != "data":
            yield from _flat(item, f"{prefix}{name}.")
        elif name in ("memory", "disk_size", "work_disk", "size") and item:
            yield prefix + name, format_size(item)
        elif name != "data":
            yield prefix + name, plain(item)
