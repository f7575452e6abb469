"""Blocking work in threads that is never left running behind anybody's back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(
    work: Callable[..., T], *args: Any, on_cancel: Callable[[], None] | None = None
) -> T:
    """Run ``work(*args)`` in a thread and return its result.

    When the caller is cancelled, ``on_cancel`` is called and the work is waited for to its end
    before the cancellation goes on: whoever undoes afterwards meets no writer. That is what
    ``asyncio.to_thread`` does not do.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *args))  # noqa: TID251
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if on_cancel is not None:
            on_cancel()
        await finished(task)
        raise


async def finished(task: asyncio.Future[Any]) -> None:
    """Wait until ``task`` has ended, however often this wait is cancelled; its error is dropped."""
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
