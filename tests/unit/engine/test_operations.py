from __future__ import annotations

import asyncio
import time

import pytest

from banger_core.engine.events import EventBus
from banger_core.engine.operations import AT_ONCE, Operation, Operations, in_thread, together
from banger_core.errors import Conflict, Interrupted, NotFound


def collect(work, act=None):
    """Run ``work`` as an operation and return its events."""

    async def main():
        bus = EventBus()
        operations = Operations(bus)
        operation = operations.start("testing", work)
        seen = []
        with bus.subscribe(operation=operation.id) as events:
            if act:
                asyncio.get_running_loop().call_later(0.05, act, operations, operation)
            async for event in events:
                seen.append(event)
                if event.kind in ("operation.done", "operation.failed"):
                    break
        await operations.close()
        return seen

    return asyncio.run(main())


def test_events_come_in_order_and_end_with_the_result():
    async def work(operation):
        operation.step("one")
        operation.notice("two")
        return {"answer": 42}

    events = collect(work)
    assert [event.kind for event in events] == [
        "operation.started",
        "step",
        "notice",
        "operation.done",
    ]
    assert events[-1].data["result"] == {"answer": 42}
    assert [event.seq for event in events] == sorted(event.seq for event in events)


def test_an_expected_failure_is_the_last_event():
    async def work(_):
        raise Conflict("no", cause="because", hints=["yes"])

    error = collect(work)[-1].data["error"]
    assert (error["code"], error["error"], error["cause"], error["try"]) == (
        "conflict", "no", "because", ["yes"],
    )  # fmt: skip
    assert error["operation"]


def test_a_defect_is_told_without_a_traceback():
    async def work(_):
        raise ZeroDivisionError("oops")

    error = collect(work)[-1].data["error"]
    assert error["error"] == "testing failed unexpectedly"
    assert error["cause"] == "ZeroDivisionError: oops"


def test_cancelling_interrupts_and_lets_the_work_undo():
    undone = []

    async def work(_):
        try:
            await asyncio.sleep(60)
        finally:
            undone.append(True)

    events = collect(work, lambda operations, operation: operations.cancel(operation.id))
    assert events[-1].data["error"]["code"] == "interrupted"
    assert undone == [True]


def test_cancelling_waits_for_the_thread_and_stops_it_at_its_next_report():
    left = []

    async def work(operation: Operation):
        def thread():
            try:
                while True:
                    time.sleep(0.01)
                    operation.progress("busy", 0, 0)
            except Interrupted:
                left.append("interrupted")
                raise

        await in_thread(operation, thread)

    events = collect(work, lambda operations, operation: operations.cancel(operation.id))
    assert events[-1].data["error"]["code"] == "interrupted"
    assert left == ["interrupted"]


def test_progress_is_thinned_but_its_end_is_told():
    async def work(operation):
        for done in range(1001):
            operation.progress("copying", done, 1000)

    told = [event.data["done"] for event in collect(work) if event.kind == "progress"]
    assert told[-1] == 1000
    assert len(told) < 100


def test_what_goes_on_side_by_side_is_thinned_each_for_itself():
    async def work(operation):
        for done in range(1001):
            for layer in ("one", "two", "three"):
                operation.progress(layer, done, 1000)

    told = [event.data for event in collect(work) if event.kind == "progress"]
    assert len(told) < 100
    for layer in ("one", "two", "three"):
        assert [data["done"] for data in told if data["what"] == layer][-1] == 1000


def test_progress_without_a_known_end_is_thinned_too():
    async def work(operation):
        for done in range(1000):
            operation.progress("copying", done, 0)

    told = [event.data["done"] for event in collect(work) if event.kind == "progress"]
    assert told[0] == 0
    assert len(told) < 100


def test_progress_of_ever_new_things_takes_no_ever_growing_memory():
    async def work(operation):
        for number in range(10 * AT_ONCE):
            operation.progress(f"file {number}", 0, 10)
            assert len(operation._told) <= AT_ONCE

    assert collect(work)[-1].kind == "operation.done"


def test_an_unknown_operation_cannot_be_cancelled():
    async def main():
        Operations(EventBus()).cancel("nope")

    with pytest.raises(NotFound):
        asyncio.run(main())


def test_together_raises_the_first_error_and_cancels_the_rest():
    cancelled = []

    async def slow():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def bad():
        raise Conflict("first")

    async def main():
        await together(slow(), bad())

    with pytest.raises(Conflict, match="first"):
        asyncio.run(main())
    assert cancelled == [True]


def test_a_late_listener_gets_what_it_missed():
    async def main():
        bus = EventBus()
        first = bus.publish("a")
        bus.publish("b")
        with bus.subscribe(since=first.seq) as events:
            async for event in events:
                return event.kind
        return None

    assert asyncio.run(main()) == "b"
