"""Event sinks: each is told what happens at its own pace, and none can hold up anything."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from banger_core.engine.events import Subscription
from banger_core.errors import BangerError
from banger_core.plugins.isolation import plugin_error

if TYPE_CHECKING:
    from banger_core.contracts import Context, EventSink
    from banger_core.engine.engine import Engine
    from banger_core.model import Event
    from banger_core.plugins.record import PluginRecord

log = logging.getLogger("banger.engine")

PATIENCE = 10.0
"""Seconds that a sink may take for one event."""

GRACE = 3.0
"""Seconds that all sinks together get for what is left when the daemon stops."""


class Sinks:
    """All event sinks of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._subscriptions = ExitStack()
        self._feeds: list[_Feed] = []

    def open(self) -> None:
        """Start telling every sink that can be loaded; the log names those that cannot."""
        sinks = self._engine.registry.event_sinks
        for clash in sinks.clashes():
            log.error("%s: %s", clash.summary, clash.cause)
        for name in sinks.names():
            try:
                sink, cx = sinks.load(name), self._engine.context(name)
            except BangerError as problem:
                log.error("%s: %s", problem.summary, problem.cause)  # noqa: TRY400
                continue
            wants = sinks.declared(name).wants
            subscription = self._engine.events.subscribe(wants=wants)
            waiting = self._subscriptions.enter_context(subscription)
            self._feeds.append(_Feed(name, sinks.owner(name), sink, cx, waiting))

    async def close(self) -> None:
        """Let the sinks take what has happened until now, within ``GRACE``."""
        self._subscriptions.close()
        ends = [feed.end() for feed in self._feeds]
        if ends:
            await asyncio.wait(ends, timeout=GRACE)
        for feed in self._feeds:
            await feed.stop()
        self._feeds.clear()


class _Feed:
    """One sink and the events that wait for it."""

    def __init__(
        self,
        name: str,
        owner: PluginRecord,
        sink: EventSink,
        cx: Context,
        subscription: Subscription,
    ) -> None:
        self._name, self._owner = name, owner
        self._sink, self._cx, self._subscription = sink, cx, subscription
        self._task = asyncio.create_task(self._run(), name=f"sink {name}")

    async def _run(self) -> None:
        async for event in self._subscription:
            await self._tell(event)

    async def _tell(self, event: Event) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._sink.handle(event, self._cx)
        except TimeoutError:
            self._blame(event, plugin_error(self._owner, "handle", f"took over {PATIENCE:.0f} s"))
        except BangerError as problem:
            self._blame(event, problem)

    def _blame(self, event: Event, problem: BangerError) -> None:
        log.error(
            "event sink %s missed %s %d: %s: %s",
            *(self._name, event.kind, event.seq, problem.summary, problem.cause),
        )

    def end(self) -> asyncio.Task[None]:
        """Ask for the end after what waits now."""
        self._subscription.close()
        return self._task

    async def stop(self) -> None:
        """End now."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if lost := self._subscription.lost:
            log.error("event sink %s was too slow for %d events", self._name, lost)
