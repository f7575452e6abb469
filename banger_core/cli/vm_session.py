"""``banger vm session``: named programs in a machine that go on when nobody is connected."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from banger_core.cli.ended import connection_lost
from banger_core.cli.group import AFTER_DASHES, DashedCommand, Noun, verb
from banger_core.cli.link import fetch
from banger_core.cli.options import AsJson, Quiet, User, VmRef
from banger_core.client.guest_sessions import GuestSessions, check_name
from banger_core.client.notes import read_note
from banger_core.client.session import Session, as_user, check_command, check_directory
from banger_core.errors import UsageProblem
from banger_core.ui.console import tell
from banger_core.ui.human import ago
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_table

session = Noun("session", "Named programs in machines that go on by themselves")

GRACE_MAX = 3600
LOG_MAX = 1 << 20

Name = Annotated[str, typer.Argument(metavar="NAME", help="The session.", show_default=False)]


@verb(session, "start", cls=DashedCommand)
def start(
    ctx: typer.Context,
    vm: VmRef,
    name: Name,
    tty: Annotated[bool, typer.Option("--tty", "-t", help="Give it a terminal.")] = False,
    user: User = "",
    workdir: Annotated[
        str, typer.Option("--workdir", "-w", metavar="DIR", help="Where to run it.")
    ] = "",
    quiet: Quiet = False,
) -> None:
    """Start a program in a machine, under a name, and leave it to itself.

    It goes on until it ends, is stopped, or the machine stops. The name of a session that has
    ended can be used again.
    """
    command = ctx.meta.get(AFTER_DASHES)
    if not command:
        raise UsageProblem(
            "missing argument '-- COMMAND…'",
            cause="a command for the machine stands there",
            hints=["banger vm session start VM NAME -- COMMAND"],
        )
    check_command(command)
    prefix = f"{as_user(user)} " if user else ""
    if workdir:
        prefix += f"banger-at {check_directory(workdir, '--workdir')} "
    check_name(name)
    _sessions(vm).start(name, command, tty=tty, prefix=prefix)
    if not quiet:
        tell(f"{name} runs in {vm}: banger vm session attach {vm} {name}")


@verb(session, "list", aliases=("ls",))
def list_all(vm: VmRef, as_json: AsJson = False) -> None:
    """List the sessions of a machine, and how those that have ended did so."""
    found = _sessions(vm).all()
    if as_json:
        show_json([asdict(each) for each in found])
        return
    show_table(
        ("name", "state", "status", "started", "terminal", "command"),
        [
            (
                each.name,
                each.state,
                "-" if each.status is None else str(each.status),
                ago(each.begun_at),
                "yes" if each.tty else "no",
                " ".join(each.command),
            )
            for each in found
        ],
    )


@verb(session, "attach")
def attach(vm: VmRef, name: Name) -> int:
    r"""Show what a session writes, beginning with its last words, and send it what is typed.

    Ctrl-\ detaches from a session with a terminal, Ctrl-C from one without: it goes on. When it
    ends, its exit status is this command's.
    """
    sessions = _sessions(vm)
    found = sessions.find(name, running=True)
    terminal = found.tty and os.isatty(0) and os.isatty(1)
    if os.isatty(0):
        tell(f"detach with Ctrl-{chr(92) if terminal else 'C'}")
    return _converse(sessions, vm, f"attach {name}", pty=terminal)


@verb(session, "logs")
def logs(
    vm: VmRef,
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    tail: Annotated[
        int,
        typer.Option("--tail", min=1, max=LOG_MAX, metavar="BYTES", help="Only the end."),
    ] = LOG_MAX,
) -> int:
    """Show what a session wrote, also after it has ended. The machine keeps the last 256 KiB
    at least.
    """
    sessions = _sessions(vm)
    sessions.find(name)
    return _converse(sessions, vm, f"{'follow' if follow else 'logs'} {name} {tail}")


@verb(session, "send")
def send(
    vm: VmRef,
    name: Name,
    text: Annotated[
        str | None,
        typer.Argument(metavar="[TEXT]", help="One line. Default: stdin.", show_default=False),
    ] = None,
    no_newline: Annotated[
        bool, typer.Option("--no-newline", "-n", help="The text alone, without an end of line.")
    ] = False,
    eof: Annotated[bool, typer.Option("--eof", help="Afterwards end its input.")] = False,
) -> int:
    """Write a line, or else stdin, to the input of a session."""
    sessions = _sessions(vm)
    sessions.find(name, running=True)
    if text is None and not (eof and os.isatty(0)):
        return _converse(sessions, vm, f"send {name}{' eof' * eof}")
    line = "" if text is None else text if no_newline else f"{text}\n"
    sessions.send(name, os.fsencode(line), eof=eof)
    return 0


@verb(session, "stop")
def stop(
    vm: VmRef,
    name: Name,
    grace: Annotated[
        int,
        typer.Option(
            "--grace", min=0, max=GRACE_MAX, metavar="SECONDS", help="How long it is asked."
        ),
    ] = 10,
    quiet: Quiet = False,
) -> None:
    """End a session: SIGTERM to all its processes, and SIGKILL if that does not help."""
    sessions = _sessions(vm)
    sessions.find(name, running=True)
    killed, status = sessions.stop(name, grace)
    if not quiet:
        how = f"did not end within {grace} s and was killed" if killed else "has ended"
        tell(f"{name} {how}" + (f", status {status}" if status is not None else ""))


@verb(session, "delete", aliases=("rm",))
def delete(vm: VmRef, name: Name) -> None:
    """Forget a session that has ended, and what it wrote."""
    sessions = _sessions(vm)
    if sessions.find(name).state == "running":
        raise UsageProblem(
            f"the session {name} of {vm} runs", hints=[f"banger vm session stop {vm} {name}"]
        )
    sessions.remove(name)


def _sessions(vm: str) -> GuestSessions:
    return GuestSessions(read_note(vm) or fetch("vms", vm, "ssh")["argv"], vm)


def _converse(sessions: GuestSessions, vm: str, request: str, *, pty: bool = False) -> int:
    ended = Session(sessions.argv, pty=pty, request=f"banger-session {request}").run()
    return connection_lost(vm, ended) if ended.lost else ended.status
