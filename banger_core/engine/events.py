"""Events: what happened, in order, for whoever listens."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from banger_core.model import Event

HISTORY = 1000
BACKLOG = 10_000


class Subscription:
    """One listener's queue. A listener that falls behind loses the oldest events."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._waiting: deque[Event] = deque(maxlen=BACKLOG)
        self._arrived = asyncio.Event()

    def offer(self, event: Event) -> None:
        """Queue ``event`` when this listener wants it."""
        if not self._operation or event.operation == self._operation:
            self._waiting.append(event)
            self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events as they come, for ever."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
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
    def subscribe(self, *, operation: str = "", since: int | None = None) -> Iterator[Subscription]:
        """Listen, to one operation or to all; with ``since``, first what came after that."""
        subscription = Subscription(operation)
        if since is not None:
            for event in self._history:
                if event.seq > since:
                    subscription.offer(event)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
