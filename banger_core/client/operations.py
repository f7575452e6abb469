"""Long work of the daemon, followed to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from banger_core.client.client import Client, url
from banger_core.client.interrupts import Interrupts
from banger_core.errors import BangerError, DaemonUnavailable

Event = dict[str, Any]


class Operation:
    """One operation: a request whose answer is a stream of events.

    ``vm`` is the VM that the events are about, as soon as one of them says so.
    """

    def __init__(self, client: Client, method: str, target: str, body: Any = None) -> None:
        self._client = client
        self._request = (method, target, body)
        self._cancelled = False
        self._wanted = False
        self.id = ""
        self.vm = ""

    def follow(self, show: Callable[[Event], None]) -> Any:
        """Make the request, give every event to ``show``, and return the operation's result.

        Raises what the operation failed with (Interrupted when it was cancelled), and
        DaemonUnavailable when the stream ends without an end.
        """
        for event in self._client.events(*self._request):
            data = event.get("data") or {}
            self.vm = event.get("vm") or self.vm
            match event["kind"]:
                case "operation.started":
                    self.id = event.get("operation", "")
                    if self._wanted:
                        self.cancel()
                case "operation.done":
                    return data.get("result")
                case "operation.failed":
                    raise BangerError.from_dict(data.get("error") or {})
            show(event)
        raise DaemonUnavailable(
            "the daemon went away before the operation ended",
            cause=f"operation {self.id}" if self.id else "",
            hints=["banger daemon logs", "banger vm list shows what there is now"],
        )

    def cancel(self) -> None:
        """Ask the daemon to stop and undo the operation; later calls change nothing."""
        self._wanted = True
        if self.id and not self._cancelled:
            self._cancelled = True
            self._client.call("POST", url("operations", self.id, "cancel"), timeout=10)

    def react(self, number: int) -> None:
        """Take a signal: the first one cancels the operation in the daemon, which undoes it; a
        second one gives up waiting for that. Raises Interrupted.
        """
        if self._wanted:
            Interrupts.give_up(number)
        self.cancel()


class Request:
    """Like an operation, for what the daemon only takes note of and answers at once."""

    def __init__(self, client: Client, method: str, target: str, body: Any = None) -> None:
        self._client = client
        self._request = (method, target, body)

    def follow(self, _: Callable[[Event], None]) -> Any:
        """Make the request and return the answer."""
        return self._client.call(*self._request)

    def react(self, number: int) -> None:
        """Take a signal: give up. Raises Interrupted."""
        Interrupts.give_up(number)


def follow(operation: Operation | Request, show: Callable[[Event], None]) -> Any:
    """``operation.follow`` while signals go to ``operation.react``."""
    with Interrupts() as interrupts:
        interrupts.react = operation.react
        return operation.follow(show)
