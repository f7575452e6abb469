"""Work in threads ends before those who asked for it go on."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from banger_core.threads import in_thread


def test_gives_the_result():
    assert asyncio.run(in_thread(divmod, 7, 2)) == (3, 1)


def test_runs_in_the_thread_that_is_given():
    def name():
        return threading.current_thread().name

    with ThreadPoolExecutor(1, "mine") as mine:
        assert asyncio.run(in_thread(name, executor=mine)).startswith("mine")


def test_raises_what_the_work_raises():
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(divmod, 7, 0))


@pytest.mark.parametrize("cancellations", [1, 3])
def test_cancelled_waits_for_the_end(cancellations):
    began, may_end, told = threading.Event(), threading.Event(), []

    def work():
        began.set()
        assert may_end.wait(60)

    async def scenario():
        task = asyncio.ensure_future(in_thread(work, on_cancel=lambda: told.append(1)))
        await asyncio.to_thread(began.wait)
        for _ in range(cancellations):
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=0.01)
            assert not done
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert told == [1]


def test_the_error_of_cancelled_work_is_dropped():
    began, may_end = threading.Event(), threading.Event()

    def work():
        began.set()
        may_end.wait(60)
        raise OSError

    async def scenario():
        task = asyncio.ensure_future(in_thread(work))
        await asyncio.to_thread(began.wait)
        task.cancel()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
