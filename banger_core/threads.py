"""Work that is never left running behind anybody's back: threads, and programs that start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(
    work: Callable[..., T],
    *args: Any,
    on_cancel: Callable[[], None] | None = None,
    executor: Executor | None = None,
) -> T:
    """Run ``work(*args)`` in a thread and return its result.

    ``executor`` brings threads of the caller's own: for what may occupy them for long, because
    those that all share are few.

    When the caller is cancelled, ``on_cancel`` is called and the work is waited for to its end
    before the cancellation goes on: whoever undoes afterwards meets no writer. That is what
    ``asyncio.to_thread`` does not do.
    """
    loop, inside = asyncio.get_running_loop(), copy_context()
    task = loop.run_in_executor(executor, inside.run, partial(work, *args))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if on_cancel is not None:
            on_cancel()
        await finished(task)
        raise


async def started(start: Coroutine[Any, Any, T], undo: Callable[[T], Awaitable[None]]) -> T:
    """Return what ``start`` gives, or leave nothing of it.

    When the caller is cancelled meanwhile, the start is waited for to its end, and undone, before
    the cancellation goes on. A program that asyncio is starting may have children by then, and
    asyncio ends the program alone.
    """
    task = asyncio.create_task(start)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await finished(task)
        if not task.cancelled() and task.exception() is None:
            await undo(task.result())
        raise


async def finished(task: asyncio.Future[Any]) -> None:
    """Wait until ``task`` has ended, however often this wait is cancelled; its error is dropped."""
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
