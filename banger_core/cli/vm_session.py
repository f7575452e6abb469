"""``banger vm session``: named programs in a machine that go on when nobody is connected."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from banger_core.cli.completers import all_sessions, sessions
from banger_core.cli.ended import connection_lost
from banger_core.cli.group import AFTER_DASHES, DashedCommand, Noun, verb
from banger_core.cli.link import fetch
from banger_core.cli.options import AsJson, Quiet, User, VmRef
from banger_core.client.guest_sessions import LOG_MAX, GuestSession, GuestSessions, check_name
from banger_core.client.notes import read_note
from banger_core.client.session import Session, as_user, check_command, check_directory
from banger_core.client.session_records import SessionRecords
from banger_core.config.paths import Paths
from banger_core.errors import NotFound, UsageProblem
from banger_core.escapes import EscapeStripper
from banger_core.ui.console import is_terminal, tell
from banger_core.ui.human import ago
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_table

session = Noun("session", "Named programs in machines that go on by themselves")

GRACE_MAX = 3600

_NAME: Any = {"metavar": "NAME", "help": "The session.", "show_default": False}
NewName = Annotated[str, typer.Argument(**_NAME)]
Name = Annotated[str, typer.Argument(**_NAME, autocompletion=sessions)]
KnownName = Annotated[str, typer.Argument(**_NAME, autocompletion=all_sessions)]


@verb(session, "start", cls=DashedCommand)
def start(
    ctx: typer.Context,
    vm: VmRef,
    name: NewName,
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
            hints=[f"banger vm session start {vm} {name} -- COMMAND"],
        )
    check_command(command)
    prefix = f"{as_user(user)} " if user else ""
    if workdir:
        prefix += f"banger-at {check_directory(workdir, '--workdir')} "
    check_name(name)
    machine = _Machine(vm)
    machine.guest.start(name, command, tty=tty, prefix=prefix)
    machine.records.add(name, command, tty=tty, user=user, now=time.time())
    if not quiet:
        verbs = "attach" if tty else "logs -f"
        tell(f"{name} runs in {vm}: banger vm session {verbs} {vm} {name}")


@verb(session, "list", aliases=("ls",))
def list_all(vm: VmRef, as_json: AsJson = False) -> None:
    """List the sessions of a machine, and how those that have ended did so."""
    found = _Machine(vm).all()
    if as_json:
        show_json([asdict(each) for each in found])
        return
    show_table(("name", "state", "status", "pid", "started", "terminal", "command"), _cells(found))


@verb(session, "attach")
def attach(vm: VmRef, name: Name) -> int:
    r"""Show what a session writes, beginning with its last words, and send it what is typed.

    Ctrl-\ detaches from a session with a terminal, Ctrl-C from one without: it goes on. When it
    ends, its exit status is this command's.
    """
    machine = _Machine(vm)
    terminal = machine.running(name).tty and os.isatty(0) and os.isatty(1)
    if os.isatty(0):
        tell(f"detach with Ctrl-{chr(92) if terminal else 'C'}")
    status = _converse(machine, vm, f"attach {name}", pty=terminal)
    if status == 128 + signal.SIGINT and os.isatty(0) and not terminal:
        tell("[detached]")
        return 0
    return status


@verb(session, "logs")
def logs(
    vm: VmRef,
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Keep its escape sequences also on a terminal.")
    ] = False,
    tail: Annotated[
        int,
        typer.Option(
            "--tail", min=1, max=LOG_MAX, metavar="BYTES", help="Only the end.", show_default=False
        ),
    ] = LOG_MAX,
) -> None:
    """Show what a session wrote, also after it has ended.

    The machine keeps the last 252 KiB. Escape sequences are left out on a terminal.
    """
    machine = _Machine(vm)
    machine.logged(name)
    pieces = machine.guest.log(name, tail, follow=follow)
    if is_terminal(sys.stdout) and not raw:
        pieces = _stripped(pieces)
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


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
    machine = _Machine(vm)
    machine.running(name)
    if text is None and not (eof and os.isatty(0)):
        return _converse(machine, vm, f"send {name}{' eof' * eof}")
    line = "" if text is None else text if no_newline else f"{text}\n"
    machine.guest.send(name, os.fsencode(line), eof=eof)
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
    machine = _Machine(vm)
    machine.running(name)
    killed, status = machine.guest.stop(name, grace)
    if not quiet:
        how = f"did not end within {grace} s and was killed" if killed else "has ended"
        tell(f"{name} {how}" + (f", status {status}" if status is not None else ""))


@verb(session, "delete", aliases=("rm",))
def delete(vm: VmRef, name: KnownName) -> None:
    """Forget a session that has ended, and what it wrote."""
    machine = _Machine(vm)
    found = machine.find(name)
    if found.state == "running":
        raise UsageProblem(
            f"the session {name} of {vm} runs", hints=[f"banger vm session stop {vm} {name}"]
        )
    if not found.machine_stopped:
        machine.guest.remove(name)
    machine.records.remove(name)


class _Machine:
    """The sessions of one machine, those included that it took along when it stopped."""

    def __init__(self, vm: str) -> None:
        record = fetch("vms", vm)
        home = Paths.from_environment().vm_state(record["id"])
        self._vm, self._up = vm, record["state"] not in ("stopped", "failed")
        self.records = SessionRecords(home, record["started_at"] if self._up else None)

    @property
    def guest(self) -> GuestSessions:
        """Those that the machine has now. Raises UsageProblem when it does not run."""
        return GuestSessions(read_note(self._vm) or fetch("vms", self._vm, "ssh")["argv"], self._vm)

    def all(self) -> list[GuestSession]:
        """Return all that are known."""
        known = self.guest.all() if self._up else []
        return known + self.records.lost({each.name for each in known})

    def find(self, name: str) -> GuestSession:
        """Return the one called ``name``. Raises NotFound and UsageProblem."""
        check_name(name)
        known = self.all()
        for each in known:
            if each.name == name:
                return each
        raise NotFound(
            f"session of {self._vm}",
            name,
            [each.name for each in known],
            hints=[f"banger vm session start {self._vm} {name} -- COMMAND"],
        )

    def running(self, name: str) -> GuestSession:
        """Return the one called ``name``, which must run. Raises NotFound and UsageProblem."""
        found = self.logged(name)
        if found.state != "running":
            how = f" with status {found.status}" if found.status is not None else ""
            raise UsageProblem(
                f"the session {name} of {self._vm} has ended{how}",
                hints=[
                    f"banger vm session logs {self._vm} {name}",
                    f"banger vm session start {self._vm} {name} -- COMMAND",
                ],
            )
        return found

    def logged(self, name: str) -> GuestSession:
        """Return the one called ``name``, of which the machine must know. Raises NotFound and
        UsageProblem.
        """
        found = self.find(name)
        if found.machine_stopped:
            raise UsageProblem(
                f"the session {name} of {self._vm} is gone",
                cause="its machine was stopped, and sessions and their logs end with that",
                hints=[f"banger vm session start {self._vm} {name} -- COMMAND"],
            )
        return found


def _cells(found: Iterable[GuestSession]) -> Iterable[tuple[str, ...]]:
    for each in found:
        yield (
            each.name,
            "gone with its machine" if each.machine_stopped else each.state,
            "-" if each.status is None else str(each.status),
            str(each.pid) if each.pid and each.state == "running" else "-",
            ago(each.started_at),
            "yes" if each.tty else "no",
            shlex.join(each.command),
        )


def _stripped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    stripper = EscapeStripper()
    for piece in pieces:
        yield stripper.feed(piece).encode()
    yield stripper.finish().encode()


def _converse(machine: _Machine, vm: str, request: str, *, pty: bool = False) -> int:
    ended = Session(machine.guest.argv, pty=pty, request=f"banger-session {request}").run()
    return connection_lost(vm, ended) if ended.lost else ended.status
