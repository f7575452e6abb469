"""Events: what happened, in order, for whoever listens."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from banger_core.model import Event

HISTORY = 1000
BACKLOG = 10_000


class Subscription:
    """One listener's queue. A listener that falls behind loses the oldest events; ``lost`` says
    how many, of those that it did not get.
    """

    def __init__(self, wants: Callable[[Event], bool]) -> None:
        self._wants = wants
        self._waiting: deque[Event] = deque(maxlen=BACKLOG)
        self._arrived = asyncio.Event()
        self._closed = False
        self.lost = 0

    def offer(self, event: Event) -> None:
        """Queue ``event`` when this listener wants it."""
        if self._wants(event):
            self.lost += len(self._waiting) == BACKLOG
            self._waiting.append(event)
            self._arrived.set()

    def close(self) -> None:
        """Let whoever iterates come to an end after what waits now."""
        self._closed = True
        self._arrived.set()

    def waiting(self) -> list[Event]:
        """What has come and was not taken yet."""
        return list(self._waiting)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events as they come, until ``close``."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()


class EventBus:
    """Hands every event to every subscription. Used on the event loop only."""

    def __init__(self) -> None:
        self._sequence = itertools.count(1)
        self._history: deque[Event] = deque(maxlen=HISTORY)
        self._subscriptions: set[Subscription] = set()

    def publish(self, kind: str, *, vm: str = "", operation: str = "", **data: Any) -> Event:
        """Make an event, keep it in the history, and offer it to all listeners."""
        event = Event(
            seq=next(self._sequence),
            time=time.time(),
            kind=kind,
            vm=vm,
            operation=operation,
            data=data,
        )
        self._history.append(event)
        for subscription in self._subscriptions:
            subscription.offer(event)
        return event

    @contextmanager
    def subscribe(
        self,
        *,
        operation: str = "",
        since: int | None = None,
        wants: Callable[[str], bool] = lambda _: True,
    ) -> Iterator[Subscription]:
        """Listen, to one operation or to all, to the kinds of events that it ``wants``; with
        ``since``, first what came after that.
        """
        subscription = Subscription(
            lambda event: operation in ("", event.operation) and wants(event.kind)
        )
        if since is not None:
            for event in self._history:
                if event.seq > since:
                    subscription.offer(event)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
