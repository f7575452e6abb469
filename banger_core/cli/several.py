"""One verb on several machines: all at the same time, reported in the order given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from banger_core.cli.link import link
from banger_core.client.client import Client, url
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
    operations = {reference: begin(client, reference) for reference in wanted}
    return _report(wanted, _all(operations, quiet=quiet))


def each_vm(references: Sequence[str], begin: Begin, *, quiet: bool) -> int:
    """``each`` for machines. Several are found at one moment, before anything is done to any of
    them, and one that goes by several references is one.
    """
    if len(set(references)) == 1:
        return each(references, begin, quiet=quiet)
    client = link()
    found = find_vms(client, references)
    operations = {
        each["name"]: begin(client, each["id"])
        for each in found.values()
        if not isinstance(each, BangerError)
    }
    done = _all(operations, quiet=quiet)
    outcomes = {
        reference: each if isinstance(each, BangerError) else done[each["name"]]
        for reference, each in found.items()
    }
    return _report(list(outcomes), outcomes)


def find_vms(client: Client, references: Sequence[str]) -> dict[str, dict[str, str] | BangerError]:
    """Return by reference, in the order given, ``id`` and ``name`` of the machine that it means at
    this moment, or what is wrong with it. A machine that is meant twice is there once.
    """
    wanted = list(dict.fromkeys(references))
    answers = client.call("POST", url("resolve"), {"references": wanted})["vms"]
    found: dict[str, dict[str, str] | BangerError] = {}
    seen = set()
    for reference, answer in zip(wanted, answers, strict=True):
        if "error" in answer:
            found[reference] = BangerError.from_dict(answer["error"])
        elif answer["id"] not in seen:
            seen.add(answer["id"])
            found[reference] = answer
    return found


def _all(
    operations: dict[str, Operation | Request], *, quiet: bool
) -> dict[str, Any | BangerError]:
    outcomes: dict[str, Any | BangerError] = {}

    def work(reference: str) -> None:
        def show(event: dict[str, Any]) -> None:
            word = {"step": "what", "notice": "text"}.get(event["kind"])
            if word and not quiet:
                tell(f"{reference}: {event['data'].get(word, '')}")

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
        threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in operations]
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
