"""The suite for event sinks."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from banger_core.model import Event
from banger_core.testing.contracts.base import Contract
from banger_core.testing.contracts.samples import sample_events

if TYPE_CHECKING:
    from banger_core.testing.context import FakeContext


class EventSinkContract(Contract):
    """Set ``make``."""

    contract: ClassVar[str] = "EventSink"

    def test_events_of_all_kinds_are_taken(self, subject: Any, cx: FakeContext) -> None:
        self._tell(subject, sample_events(), cx)

    def test_events_that_nobody_knows_yet_are_taken(self, subject: Any, cx: FakeContext) -> None:
        data = {"text": "\x1b[2J\n", "number": 1.5, "list": [{"deep": None}], "name": "ü\ud800"}
        unknown = Event(seq=1, time=time.time(), kind="some.day", data=data)
        bare = Event(seq=2, time=0.0, kind="vm.ready")
        self._tell(subject, [unknown, bare], cx)

    def test_handling_is_asynchronous(self, subject: Any) -> None:
        self.asks(inspect.iscoroutinefunction(subject.handle), "handle is an async function")

    def test_each_sink_has_nothing_but_its_context(self, cx: FakeContext) -> None:
        """A daemon that starts anew makes the sink anew, over the same directories."""
        for events in (sample_events()[:2], sample_events()[2:]):
            self._tell(type(self).make(), events, cx)

    def _tell(self, subject: Any, events: Iterable[Event], cx: FakeContext) -> None:
        async def tell() -> None:
            for event in events:
                try:
                    async with asyncio.timeout(10):
                        await subject.handle(event, cx)
                except Exception as problem:  # noqa: BLE001 - told to the author
                    self.asks(False, f"handle takes {event.kind!r} and raises not {problem!r}")

        asyncio.run(tell())
