"""Operations: long work with an id, progress, and a way to stop it."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from banger_core import threads
from banger_core.engine.events import EventBus
from banger_core.errors import BangerError, Interrupted, NotFound
from banger_core.store.content import no_space

T = TypeVar("T")

PROGRESS_INTERVAL = 0.1
"""Progress of one thing is told at most this often (seconds)."""

AT_ONCE = 256
"""So many things can be under way at once before their progress is told more often."""


class Operation:
    """One piece of long work. Reports may come from any thread."""

    def __init__(self, bus: EventBus, what: str) -> None:
        self.id = secrets.token_hex(4)
        self.what = what
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._cancelled = threading.Event()
        self._told: dict[str, float] = {}
        self.began = time.monotonic()
        self.timing: dict[str, float] = {}

    def check(self) -> None:
        """Raise Interrupted when the operation has been cancelled."""
        if self._cancelled.is_set():
            raise Interrupted(f"{self.what} was stopped", cause="it was cancelled")

    def cancel(self) -> None:
        """Make the next report, from whatever thread, raise Interrupted."""
        self._cancelled.set()

    def step(self, what: str) -> None:
        """Say what is being done now."""
        self.check()
        self._tell("step", what=what)

    def notice(self, text: str) -> None:
        """Say something that the user should know."""
        self._tell("notice", text=text)

    def output(self, lines: list[str]) -> None:
        """Pass on what a program said, line by line."""
        self._tell("output", lines=lines)

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far something is; thinned out, but its end is always told.

        What goes on side by side is thinned each for itself.
        """
        self.check()
        now = time.monotonic()
        if total and done >= total:
            self._told.pop(what, None)
        elif now - self._told.get(what, -PROGRESS_INTERVAL) < PROGRESS_INTERVAL:
            return
        else:
            self._remember(what, now)
        self._tell("progress", what=what, done=done, total=total)

    def _remember(self, what: str, now: float) -> None:
        if len(self._told) >= AT_ONCE:
            self._told.clear()
        self._told[what] = now

    def mark(self, name: str) -> None:
        """Remember how many seconds after the beginning ``name`` was reached."""
        self.timing[name] = round(time.monotonic() - self.began, 3)

    def publish(self, kind: str, **data: Any) -> None:
        """Publish an event of this operation; on the event loop only."""
        self._bus.publish(kind, operation=self.id, **data)

    def _tell(self, kind: str, **data: Any) -> None:
        if threading.get_ident() == self._thread:
            self.publish(kind, **data)
        else:
            self._loop.call_soon_threadsafe(lambda: self.publish(kind, **data))


class Operations:
    """The operations that are under way."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._running: dict[str, tuple[Operation, asyncio.Task[Any]]] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._running)

    def start(self, what: str, work: Callable[[Operation], Awaitable[Any]]) -> Operation:
        """Start ``work`` in the background and return its operation at once.

        The last event of the operation is ``operation.done`` with the result, or
        ``operation.failed`` with the error; whoever subscribed before the next await sees all.
        """
        operation = Operation(self._bus, what)
        task = asyncio.create_task(self._run(operation, work), name=f"operation {what}")
        self._running[operation.id] = (operation, task)
        return operation

    async def _run(self, operation: Operation, work: Callable[[Operation], Awaitable[Any]]) -> None:
        operation.publish("operation.started", what=operation.what)
        try:
            result = await work(operation)
        except asyncio.CancelledError:
            error = Interrupted(f"{operation.what} was stopped", cause="it was cancelled")
            self._fail(operation, error)
        except BangerError as error:
            self._fail(operation, error)
        except Exception as problem:  # noqa: BLE001 - the operation's last frame must be told
            full = no_space(problem)
            if full is None:
                log_unexpected(operation, problem)
            self._fail(operation, full or unexpected(operation, problem))
        else:
            operation.publish("operation.done", result=result)
        finally:
            del self._running[operation.id]

    def _fail(self, operation: Operation, error: BangerError) -> None:
        error.operation = operation.id
        operation.publish("operation.failed", error=error.to_dict())

    def cancel(self, operation_id: str) -> None:
        """Stop an operation; it undoes what it made. Raises NotFound."""
        if operation_id not in self._running:
            raise NotFound("operation", operation_id, self._running)
        operation, task = self._running[operation_id]
        operation.cancel()
        task.cancel()

    async def close(self) -> None:
        """Stop all operations and wait until they have undone their work."""
        tasks = [task for _, task in self._running.values()]
        for operation_id in list(self._running):
            self.cancel(operation_id)
        await asyncio.gather(*tasks, return_exceptions=True)


def log_unexpected(operation: Operation, problem: Exception) -> None:
    """Keep the traceback of a defect in the daemon's log."""
    import logging

    logging.getLogger("banger").error(
        "operation %s (%s) met a defect", operation.id, operation.what, exc_info=problem
    )


def unexpected(operation: Operation, problem: Exception) -> BangerError:
    """What to tell a person about a defect of banger itself."""
    return BangerError(
        f"{operation.what} failed unexpectedly",
        cause=f"{type(problem).__name__}: {problem}".splitlines()[0],
        hints=[f"banger daemon logs (look for operation {operation.id})"],
    )


async def in_thread(operation: Operation, work: Callable[[], T]) -> T:
    """Run blocking ``work`` in a thread. When cancelled, tells it (its next report raises
    Interrupted) and waits until it has really ended.
    """
    return await threads.in_thread(work, on_cancel=operation.cancel)


async def together(*work: Coroutine[Any, Any, Any]) -> Any:
    """Run ``work`` at the same time and return the results in order.

    When one fails, the others are cancelled and waited for, and its error is raised as it is.
    """
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
