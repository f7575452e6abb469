"""What a step in a guest says: passed on, bounded, and never as control of a terminal."""

from __future__ import annotations

import asyncio

import pytest

from banger_core.engine.events import EventBus
from banger_core.engine.guest_steps import Listener
from banger_core.engine.operations import Operation
from banger_core.engine.run import run
from banger_core.errors import BangerError


def heard(*pieces: bytes) -> list[str]:
    async def listen():
        bus = EventBus()
        with bus.subscribe() as subscription:
            listener = Listener(Operation(bus, "test"))
            for piece in pieces:
                listener(piece)
            listener.close()
            return [
                line
                for event in subscription._waiting
                if event.kind == "output"
                for line in event.data["lines"]
            ]

    return asyncio.run(listen())


def test_lines_are_put_together():
    assert heard(b"on", b"e\ntwo\nthr", b"ee") == ["one", "two", "three"]


def test_what_was_written_over_is_left_out():
    assert heard(b"10 %\r20 %\r100 %\nend\r\n") == ["100 %", "end"]


def test_escapes_are_taken_out():
    assert heard(b"\x1b[31mred\x1b[0m\x1b]0;title\x07\n") == ["red"]


def test_a_flood_is_cut_and_that_is_said():
    lines = heard(b"".join(b"%d\n" % number for number in range(1000)))
    assert lines == [*map(str, range(100)), "… 900 more lines"]
    assert [len(line) for line in heard(b"x" * 1_000_000)] == [400]


def test_a_program_is_heard_while_it_runs_and_its_end_is_told():
    said: list[bytes] = []

    async def work():
        return await run(["sh", "-c", "echo out; echo err >&2; exit 3"], listen=said.append)

    with pytest.raises(BangerError, match=r"sh failed \(exit status 3\)") as failed:
        asyncio.run(work())
    assert failed.value.cause == "err"
    assert sorted(b"".join(said).split()) == [b"err", b"out"]
