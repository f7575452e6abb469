"""One ``vm run``: boot, session, and what remains afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from banger_core.cli.ended import connection_lost
from banger_core.cli.link import link
from banger_core.client.client import url
from banger_core.client.interrupts import Interrupts
from banger_core.client.operations import Operation
from banger_core.client.session import Ended, Session
from banger_core.errors import BangerError, Conflict, ExitCode, NotFound
from banger_core.jsonable import to_json
from banger_core.model import VmRequest
from banger_core.ui.console import tell
from banger_core.ui.errors import show_error
from banger_core.ui.progress import progress

if TYPE_CHECKING:
    from banger_core.client.checkout import Checkout

_SETTLE = 3.0
"""How long the daemon gets to notice that a guest has shut down (seconds)."""


class Journey:
    """Runs ``command`` (empty: a shell, or the image's own program when the request says so) as
    ``user`` in a new machine and leaves it as the request says. With a ``checkout`` that is sent
    in first, and is where the command begins.

    Whatever happens on the way, signals included, an ephemeral machine is deleted before the
    end; should this process be killed, the daemon does it, which knows the request's lease.
    """

    def __init__(
        self,
        request: VmRequest,
        command: Sequence[str],
        *,
        pty: bool | None,
        user: str,
        quiet: bool,
        checkout: Checkout | None = None,
    ) -> None:
        self._request, self._checkout = request, checkout
        self._command = command
        self._pty = pty
        self._user = user
        self._quiet = quiet
        self._interrupts = Interrupts()
        self._vm = ""
        self._name = ""

    def go(self) -> int:
        """Return the exit status: the guest's own, 128 and the signal when the user gave up, or
        255 when the connection was lost. Raises what kept the machine from starting.
        """
        with self._interrupts:
            try:
                result = self._boot()
                directory = self._send_in()
                status = self._session(self._way_in(result["ssh"]), directory)
            finally:
                tidy = self._afterwards()
        return status or tidy

    def _way_in(self, target: dict[str, Any]) -> list[str]:
        """The command line of ssh: people who want a shell get the server that policy chose."""
        banger_s_own = self._request.entrypoint or self._user or self._checkout
        shell = not self._command and not banger_s_own
        argv: list[str] = (shell and target["shell"]) or target["argv"]
        return argv

    def _boot(self) -> Any:
        body = {"request": to_json(self._request), "start": True, "dry_run": False}
        operation = Operation(link(), "POST", url("vms"), body)
        self._interrupts.react = operation.react
        try:
            with progress(quiet=self._quiet) as show:
                result = operation.follow(show)
        except BangerError:
            # The daemon undoes what it had made; should it not have come to that, we do it
            self._vm = operation.vm if self._request.ephemeral else ""
            raise
        self._vm, self._name = result["vm"]["id"], result["vm"]["name"]
        if self._interrupts.received:
            Interrupts.give_up(self._interrupts.received[0])
        self._interrupts.react = lambda _: None
        if not self._quiet and (seconds := (result.get("timing") or {}).get("total")):
            tell(f"{self._name} is ready after {seconds:.1f} s")
        return result

    def _send_in(self) -> str:
        """Send the checkout in, and return its directory; empty when there is none."""
        if self._checkout is None:
            return ""
        from banger_core.cli.workspace import send
        from banger_core.client.workspace import default_directory

        directory = default_directory(self._checkout.top)
        _, files = send(self._name, self._checkout, directory, quiet=self._quiet)
        if not self._quiet:
            tell(f"{files} files of {self._checkout.top} are in {directory}")
        return directory

    def _session(self, argv: Sequence[str], directory: str) -> int:
        ended = Session(
            argv,
            self._command,
            pty=self._pty,
            user=self._user,
            entrypoint=self._request.entrypoint,
            directory=directory,
        ).run()
        if not ended.lost:
            return ended.status
        return self._lost(ended)

    def _lost(self, ended: Ended) -> int:
        deadline = time.monotonic() + _SETTLE
        while (state := self._state()) == "running" and time.monotonic() < deadline:
            time.sleep(0.1)
        shell = not self._command and not self._request.entrypoint
        if state == "stopped" and shell:
            tell(f"{self._name} has shut down")
            return ExitCode.OK
        return connection_lost(self._name, ended, state)

    def _state(self) -> str:
        try:
            return str(link().get(url("vms", self._vm))["state"])
        except BangerError:
            return ""

    def _afterwards(self) -> int:
        if not self._vm:
            return ExitCode.OK
        self._interrupts.react = self._patience()
        try:
            if self._request.ephemeral:
                self._delete()
            else:
                self._stop()
        except BangerError as problem:
            show_error(problem)
            return problem.exit_code
        return ExitCode.OK

    def _delete(self) -> None:
        try:
            with progress(quiet=True) as show:
                Operation(link(), "DELETE", url("vms", self._vm, force=True)).follow(show)
        except NotFound:
            return

    def _stop(self) -> None:
        with suppress(Conflict):
            link().call("POST", url("vms", self._vm, "stop"), {"force": False, "wait": False})
        if not self._quiet:
            name = self._name
            tell(
                f"{name} is kept · back to it: banger vm start {name} && banger ssh {name}"
                f" · away with it: banger vm delete {name}"
            )

    def _patience(self) -> Any:
        told: list[int] = []

        def react(number: int) -> None:
            if told:
                Interrupts.give_up(number)
            told.append(number)
            tell("tidying up; Ctrl-C again leaves that to the daemon")

        return react
