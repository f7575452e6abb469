"""One verb on several machines: all at the same time, reported in the order given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from banger_core.cli.link import link
from banger_core.client.client import Client
from banger_core.client.interrupts import Interrupts
from banger_core.client.operations import Operation, Request, follow
from banger_core.errors import BangerError, ExitCode
from banger_core.ui.console import say, tell
from banger_core.ui.errors import show_error
from banger_core.ui.progress import progress

Begin = Callable[[Client, str], Operation | Request]


def each(references: Sequence[str], begin: Begin, *, quiet: bool) -> int:
    """Run ``begin``'s operation on every reference; write the names of those that went well.

    One that fails does not stop the others. Returns 0, or the exit status of the first failure.
    """
    client = link()
    wanted = list(dict.fromkeys(references))
    if len(wanted) == 1:
        with progress(quiet=quiet) as show:
            result = follow(begin(client, wanted[0]), show)
        say(_name(result, wanted[0]))
        return ExitCode.OK
    return _report(wanted, _all(client, wanted, begin, quiet=quiet))


def _all(
    client: Client, wanted: Sequence[str], begin: Begin, *, quiet: bool
) -> dict[str, Any | BangerError]:
    outcomes: dict[str, Any | BangerError] = {}
    operations = {reference: begin(client, reference) for reference in wanted}

    def work(reference: str) -> None:
        def show(event: dict[str, Any]) -> None:
            if event["kind"] == "step" and not quiet:
                tell(f"{reference}: {event['data'].get('what', '')}")

        try:
            outcomes[reference] = operations[reference].follow(show)
        except BangerError as problem:
            outcomes[reference] = problem

    def react(number: int) -> None:
        for operation in operations.values():
            operation.react(number)

    with Interrupts() as interrupts:
        interrupts.react = react
        # Daemon threads: whoever gives up with a second Ctrl-C does not wait for them
        threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return outcomes


def _report(wanted: Sequence[str], outcomes: dict[str, Any | BangerError]) -> int:
    status: int = ExitCode.OK
    for reference in wanted:
        outcome = outcomes[reference]
        if isinstance(outcome, BangerError):
            show_error(outcome)
            status = status or outcome.exit_code
        else:
            say(_name(outcome, reference))
    return status


def _name(result: Any, reference: str) -> str:
    name = ((result or {}).get("vm") or {}).get("name")
    return str(name or reference)
