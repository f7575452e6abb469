"""The engine, the clock and the daemon that authors get."""

from __future__ import annotations

import asyncio
import time
import types

import pytest

from banger_core.errors import NotFound, Unreachable


def test_time_passes_and_jumps(fake_clock):
    async def wait():
        fired = asyncio.Event()
        asyncio.get_running_loop().call_later(3600, fired.set)
        before, began = time.time(), time.monotonic()
        await fake_clock.advance(3599)
        assert not fired.is_set()
        await fake_clock.advance(1)
        assert fired.is_set()
        assert 3600 <= time.time() - before < 3700
        assert 3600 <= time.monotonic() - began < 3700

    asyncio.run(wait())


def test_machines_come_and_go_and_events_are_kept(fake_engine):
    async def story(engine):
        record = await engine.run_vm("web", vcpu=2, labels={"team": "a"})
        assert (record.plan.vcpu, record.plan.labels) == (2, {"team": "a"})
        assert (await engine.stop_vm("web")).state == "stopped"
        assert (await engine.start_vm("web")).state == "running"
        return record.id

    engine = fake_engine()
    vm_id = engine.play(story)
    told = [event.kind for event in engine.events if event.vm == vm_id]
    # What a story leaves is deleted
    assert told == ["vm.ready", "vm.stopped", "vm.ready", "vm.deleted"]


def test_failures_come_out_as_what_they_are(fake_engine):
    async def story(engine):
        with pytest.raises(Unreachable, match="fake server"):
            await engine.run_vm("web", "fake://unreachable")
        with pytest.raises(NotFound):
            await engine.start_vm("web")

    fake_engine().play(story)


def test_the_next_daemon_finds_what_the_last_one_left(fake_engine):
    async def first(engine):
        await engine.run_vm("web")
        (engine.state_of("mine") / "mark").touch()

    async def second(engine):
        return (engine.state_of("mine") / "mark").exists()

    engine = fake_engine()
    engine.play(first)
    assert engine.play(second)


def test_a_broken_plugin_is_no_story(fake_engine):
    with pytest.raises(AssertionError, match="BANGER_API"):
        fake_engine(types.ModuleType("acme"))


def test_a_whole_banger(banger_daemon):
    house = banger_daemon(config="\n[ssh]\nagent_forwarding = false\n")
    house.env["BANGER_TRACE"] = "hooks"
    house.banger("vm", "run", "--detach", "--name", "web")
    # What the daemon loads is traced, too
    assert "hooks: fakes:fakes banger_image_sources fake load: " in house.log()
    assert [vm["state"] for vm in house.json("vm", "list")] == ["running"]
    assert house.run("vm", "show", "nope").returncode == 2
    with pytest.raises(AssertionError, match="no VM named 'nope'"):
        house.banger("vm", "show", "nope")
    house.stop()
    assert [vm["state"] for vm in house.json("vm", "list")] == ["running"]
    assert "bangerd" in house.log()
