"""Event sinks: they are told everything in order, and nothing that they do is felt."""

from __future__ import annotations

import asyncio
import types

import pytest

from banger_core.api import EventSink, hookimpl
from banger_core.engine import sinks

SEEN: list[str] = []


class Good:
    async def handle(self, event, cx):
        SEEN.append(event.kind)


class Bad:
    async def handle(self, event, cx):
        SEEN.append("bad")
        raise ValueError("a bug")


class Slow:
    async def handle(self, event, cx):
        SEEN.append("slow")
        await asyncio.sleep(3600)


class Unloadable:
    def __init__(self):
        raise OSError("no such sink")


@pytest.fixture
def story(fake_engine):
    SEEN.clear()

    def play(told, *names, kinds=("vm.*",)):
        @hookimpl
        def banger_event_sinks():
            for name in names:
                load = f"{__name__}:{name}"
                yield EventSink(name=name.lower(), summary=name, load=load, kinds=kinds)

        plugin = types.SimpleNamespace(BANGER_API=1, banger_event_sinks=banger_event_sinks)
        engine = fake_engine(plugin)
        engine.play(told)
        return engine

    return play


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, types.ModuleType("x")))
    for name in ("Good", "Bad", "Slow", "Unloadable"):
        setattr(sys.modules[__name__], name, globals()[name])


async def life(engine):
    await engine.run_vm("web")
    await engine.stop_vm("web")


def test_kinds_are_what_was_asked_for_in_order(story):
    story(life, "Good")
    assert SEEN == ["vm.ready", "vm.stopped", "vm.deleted"]


def test_without_kinds_all_but_the_many_are_told(story):
    engine = story(life, "Good", kinds=())
    told = [one.kind for one in engine.events if one.kind not in ("progress", "step")]
    assert told == SEEN
    assert "operation.done" in SEEN


def test_one_that_fails_is_named_and_stops_nobody(story, caplog):
    story(life, "Bad", "Good", "Unloadable")
    assert SEEN.count("bad") == 3
    assert [kind for kind in SEEN if kind != "bad"] == ["vm.ready", "vm.stopped", "vm.deleted"]
    assert "event sink bad missed vm.ready" in caplog.text
    assert "ValueError: a bug" in caplog.text
    assert "no such sink" in caplog.text


def test_one_that_hangs_is_given_up_and_told_the_next(story, caplog):
    async def told(engine):
        await engine.run_vm("web")
        await engine.clock.advance(sinks.PATIENCE + 1)
        await engine.stop_vm("web")
        await engine.clock.advance(sinks.PATIENCE + 1)

    story(told, "Slow")
    assert SEEN[:2] == ["slow", "slow"]
    assert "took over 10 s" in caplog.text


def test_one_that_hangs_does_not_keep_the_daemon(story, monkeypatch):
    monkeypatch.setattr(sinks, "GRACE", 0.05)
    monkeypatch.setattr(sinks, "PATIENCE", 3600)
    story(life, "Slow")
    assert SEEN == ["slow"]


def test_one_that_is_too_slow_loses_the_oldest_and_that_is_said(story, monkeypatch, caplog):
    monkeypatch.setattr(sinks, "GRACE", 0.05)
    monkeypatch.setattr(sinks, "PATIENCE", 3600)
    monkeypatch.setattr("banger_core.engine.events.BACKLOG", 2)

    async def told(engine):
        await engine.run_vm("web")
        for number in range(5):
            engine.engine.events.publish("vm.x", number=number)

    story(told, "Slow")
    # Of five and the end, two could wait
    assert "too slow for 4 events" in caplog.text


def test_vm_events_name_the_machine(story):
    engine = story(life, "Good")
    named = [event.data["name"] for event in engine.events if event.kind.startswith("vm.")]
    assert named == ["web"] * 3


@pytest.mark.parametrize("kind", ["", "VM.ready", "vm.*.x", "vm*"])
def test_kinds_have_a_form(kind):
    with pytest.raises(ValueError, match="no kind of events"):
        EventSink(name="a", summary="a", load="a:b", kinds=(kind,))
