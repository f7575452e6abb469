"""``banger vm start``, ``stop`` and the others that change what a machine is doing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from banger_core.cli.completers import one_of
from banger_core.cli.options import Cold, Quiet, VmRefs
from banger_core.cli.several import each_vm
from banger_core.client.client import Client, url
from banger_core.client.operations import Operation, Request
from banger_core.errors import UsageProblem

Force = Annotated[bool, typer.Option("--force", help="Pull the plug instead of shutting down.")]

SIGNALS = ("KILL", "TERM", "INT", "QUIT", "HUP", "ABRT")


def start(references: VmRefs, cold: Cold = False, quiet: Quiet = False) -> int:
    """Start machines and wait until they answer."""
    return _post(references, "start", {"cold": True} if cold else None, quiet=quiet)


def stop(
    references: VmRefs,
    force: Force = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until they have stopped.")
    ] = True,
    quiet: Quiet = False,
) -> int:
    """Stop machines; their disks are kept.

    A machine is asked to shut down. One that has not after [vm] stop_grace seconds is forced: its
    kernel writes everything back where that is possible, then it ends.
    """
    body = {"force": force, "wait": wait}

    def begin(client: Client, name: str) -> Operation | Request:
        return (Operation if wait else Request)(client, "POST", url("vms", name, "stop"), body)

    return each_vm(references, begin, quiet=quiet)


def restart(references: VmRefs, force: Force = False, quiet: Quiet = False) -> int:
    """Stop machines, start them again, and wait until they answer.

    One that is stopped is only started.
    """
    return _post(references, "restart", {"force": force}, quiet=quiet)


def pause(references: VmRefs, quiet: Quiet = False) -> int:
    """Let machines stand still as they are, in memory, until they are resumed."""
    return _post(references, "pause", {}, quiet=quiet)


def resume(references: VmRefs, quiet: Quiet = False) -> int:
    """Let paused machines go on, and set their clocks."""
    return _post(references, "resume", {}, quiet=quiet)


def kill(
    references: VmRefs,
    signal: Annotated[
        str,
        typer.Option(
            "--signal",
            "-s",
            metavar="SIGNAL",
            help=f"What is sent: {', '.join(SIGNALS)}.",
            autocompletion=one_of(*SIGNALS),
        ),
    ] = "KILL",
    quiet: Quiet = False,
) -> int:
    """End machines at once, without asking them.

    The signal goes to what runs the machine on this host; nothing inside hears of it, and what
    was not written to the disk is lost. For the inside there is banger vm exec NAME -- kill.
    """
    name = signal.upper().removeprefix("SIG")
    if name not in SIGNALS:
        raise UsageProblem(
            f"--signal {signal} does not end a machine",
            cause=f"there is: {', '.join(SIGNALS)}",
            hints=[
                "--signal TERM",
                "for a process inside: banger vm exec NAME -- kill -s SIGNAL PID",
            ],
        )
    return _post(references, "kill", {"signal": name}, quiet=quiet)


def _post(references: Sequence[str], what: str, body: Any, *, quiet: bool) -> int:
    return each_vm(
        references,
        lambda client, name: Operation(client, "POST", url("vms", name, what), body),
        quiet=quiet,
    )
