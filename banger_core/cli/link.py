"""From commands to the daemon.

Everything is imported when it is used: help and completion import this module, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from banger_core.client.client import Client
    from banger_core.client.names import Kind


def link() -> Client:
    """Return a client of the daemon, which is started when it does not run."""
    from banger_core.client.spawn import connect
    from banger_core.config.paths import Paths
    from banger_core.ui.console import tell

    return connect(Paths.from_environment(), tell)


def fetch(*segments: str, **query: object) -> Any:
    """Return what the daemon says at ``/v1/SEGMENTS``."""
    from banger_core.client.client import url

    return link().get(url(*segments, **query))


def ask(service: str, question: str, **data: Any) -> Any:
    """Return what the service of a plugin answers; see ``contracts.Service``."""
    from banger_core.client.client import url
    from banger_core.errors import NotFound

    try:
        return link().call("POST", url("services", service, question), data)
    except NotFound as problem:
        # A daemon that runs knows the plugins that were there when it began
        problem.hints = (*problem.hints, "banger daemon stop, then run the command again")
        raise


def operate(
    method: str, *segments: str, body: Any = None, quiet: bool = False, **query: object
) -> Any:
    """Run one operation, show its progress, and return its result."""
    from banger_core.client.client import url
    from banger_core.client.operations import Operation, follow
    from banger_core.ui.progress import progress

    operation = Operation(link(), method, url(*segments, **query), body)
    with progress(quiet=quiet) as show:
        return follow(operation, show)


def known_names(kind: Kind) -> list[str]:
    """Return the names of ``vms``, ``images`` or ``kernels`` that are here, for completion."""
    from banger_core.client.names import stored_names
    from banger_core.config.paths import Paths

    return stored_names(Paths.from_environment(), kind)


def offered_kernels() -> Iterator[str]:
    """Yield the names of kernels on offer, for completion; none when no daemon runs: a key press
    starts nothing.
    """
    from banger_core.client.client import url
    from banger_core.client.spawn import running
    from banger_core.config.paths import Paths
    from banger_core.errors import BangerError

    try:
        if found := running(Paths.from_environment()):
            answer = found[0].get(url("kernels", available=True))
            yield from (row["name"] for row in answer["kernels"])
    except BangerError:
        return
