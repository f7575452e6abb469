"""What guests are told through their helpers."""

from __future__ import annotations

import asyncio

import pytest

from banger_core.engine import helpers
from banger_core.engine.helpers import TIMES, set_clock


class Guest:
    """A helper whose answers take ``delays`` seconds of a clock that the test turns."""

    def __init__(self, monkeypatch, *delays):
        self.now, self.delays, self.asked = 100.25, list(delays), []
        monkeypatch.setattr(helpers.time, "time", lambda: self.now)
        monkeypatch.setattr(helpers.asyncio, "sleep", self.wait)

    async def wait(self, seconds):
        self.now += seconds

    async def ask(self, question, *, deadline):
        self.asked.append((question, self.now))
        self.now += self.delays.pop(0) if self.delays else 9.0


def test_a_guest_is_told_whole_seconds_when_they_begin(monkeypatch):
    guest = Guest(monkeypatch, 0.1)
    asyncio.run(set_clock(guest))
    assert guest.asked == [("time 101", 101.0)]


def test_one_that_was_slow_to_hear_it_is_told_again(monkeypatch):
    guest = Guest(monkeypatch, 3.5, 0.25)
    asyncio.run(set_clock(guest))
    assert guest.asked == [("time 101", 101.0), ("time 105", 105.0)]


@pytest.mark.parametrize(("question", "times"), [("time", TIMES), ("renew", 1)])
def test_nobody_is_told_for_ever_and_what_does_more_is_asked_once(monkeypatch, question, times):
    guest = Guest(monkeypatch)
    asyncio.run(set_clock(guest, question))
    assert len(guest.asked) == times
