"""Warm starts, over a driver whose saved machines are a line of text: never a reason to fail."""

from __future__ import annotations

import asyncio
import logging

import pytest

from banger_core.errors import GuestFailed
from banger_core.testing.fakes.warm import FakeWarmDriver

WARM = 'driver = "fake-warm"\n'


@pytest.fixture
def engine(fake_engine):
    def make(settings=WARM):
        one = fake_engine()
        text = one.paths.settings_file.read_text().replace('driver = "fake"\n', settings)
        one.paths.settings_file.write_text(text)
        return one

    return make


async def made(engine):
    """Wait until nothing is being saved any more; return the names of what there is."""
    maker = engine.engine.warm._maker
    if maker is not None:
        await asyncio.wait([maker])
    return {item.name for item in await engine.engine.warm.prune(dry_run=True)}


def test_the_second_machine_begins_as_what_the_first_one_missed(engine):
    async def story(one):
        first = await one.run_vm("first")
        names = await made(one)
        second = await one.run_vm("second")
        larger = await one.run_vm("larger", memory=600 << 20)
        assert (first.warm, second.warm, larger.warm) == (False, True, False)
        assert len(names) == 1
        assert len(await made(one)) == 2
        stopped = await one.stop_vm("first")
        assert not stopped.warm
        assert (await one.start_vm("first")).warm
        assert not [each for each in one.engine.intents.all() if each.kind == "directory"
                    and "warm" in each.subject]  # fmt: skip

    one = engine()
    one.play(story)
    # The next engine finds what this one made
    assert one.play(lambda one: one.run_vm("again")).warm
    assert not list((one.paths.runtime / "vms").iterdir())


def test_who_wants_none_gets_none_and_makes_none(engine):
    async def story(one):
        assert not (await one.run_vm("first", cold=True)).warm
        assert not await made(one)
        await one.run_vm("second")
        assert await made(one)
        assert not (await one.run_vm("third", cold=True)).warm
        await one.stop_vm("third")
        assert not (await one.start_vm("third")).warm
        await one.stop_vm("second")

        async def start(operation):
            await one.engine.machines.start("second", operation, cold=True)

        await one.operate("starting", start)
        assert not one.engine.records.vm("second").warm

    engine().play(story)


@pytest.mark.parametrize("settings", [WARM + "warm_start = false\n", 'driver = "fake"\n'])
def test_switched_off_or_not_offered(engine, settings):
    async def story(one):
        await one.run_vm("first")
        assert not await made(one)
        assert not (await one.run_vm("second")).warm

    engine(settings).play(story)


def test_what_was_tampered_with_is_removed_and_made_anew(engine, caplog):
    async def story(one):
        await one.run_vm("first")
        (name,) = await made(one)
        memory = one.paths.warm / name / "memory"
        memory.write_bytes(b"somebody else's guest")
        assert not (await one.run_vm("second")).warm
        assert "it is not as it was sealed" in caplog.text
        assert await made(one) == {name}
        assert (await one.run_vm("third")).warm

    engine().play(story)


def test_a_machine_that_does_not_wake_is_booted_and_not_tried_again(engine, caplog, monkeypatch):
    real, asleep = FakeWarmDriver.start, []

    async def start(self, spec, cx):
        if asleep and spec.data.get("warm"):
            raise GuestFailed("it does not wake", cause="no reason")
        return await real(self, spec, cx)

    async def story(one):
        await one.run_vm("first")
        assert await made(one)
        asleep.append("from now on")
        assert not (await one.run_vm("second")).warm
        assert "it does not wake: no reason" in caplog.text
        assert not await made(one)
        await one.run_vm("third")
        assert not await made(one)

    monkeypatch.setattr(FakeWarmDriver, "start", start)
    engine().play(story)


def test_one_that_was_removed_meanwhile_is_made_again(engine, monkeypatch):
    real, removing = FakeWarmDriver.start, []

    async def start(self, spec, cx):
        if removing and spec.data.get("warm"):
            await removing.pop()(dry_run=False)
        return await real(self, spec, cx)

    async def story(one):
        await one.run_vm("first")
        names = await made(one)
        removing.append(one.engine.warm.prune)
        assert not (await one.run_vm("second")).warm
        await one.run_vm("third")
        assert await made(one) == names
        assert (await one.run_vm("fourth")).warm

    monkeypatch.setattr(FakeWarmDriver, "start", start)
    engine().play(story)


@pytest.mark.parametrize("what", ["warm_key", "make_warm"])
def test_a_driver_that_fails_at_it_does_no_harm(engine, caplog, monkeypatch, what):
    def fail(self, *_):
        raise RuntimeError("a defect")

    async def afail(self, *_):
        raise RuntimeError("a defect")

    async def story(one):
        monkeypatch.setattr(FakeWarmDriver, what, fail if what == "warm_key" else afail)
        await one.run_vm("first")
        assert not await made(one)
        assert "a defect" in caplog.text
        caplog.clear()
        await one.run_vm("second")
        assert not await made(one)
        if what == "make_warm":
            # Once is enough
            assert "a defect" not in caplog.text

    engine().play(story)
    assert not list(engine().paths.warm.glob(".making-*"))


def test_a_daemon_that_stops_leaves_nothing_of_what_it_was_making(engine, monkeypatch):
    begun = asyncio.Event()

    async def make(self, plan, dirs, accel, image, cx):
        (image / "memory").write_bytes(b"half")
        begun.set()
        await asyncio.sleep(3600)

    async def story(one):
        monkeypatch.setattr(FakeWarmDriver, "make_warm", make)
        await one.run_vm("first")
        await begun.wait()
        await one.run_vm("second")

    one = engine()
    one.play(story)
    assert not list(one.paths.warm.iterdir())
    assert not list((one.paths.runtime / "vms").iterdir())


def test_pruning_stops_the_maker_and_removes_everything(engine, monkeypatch):
    async def story(one):
        await one.run_vm("first")
        names = await made(one)
        running = await one.run_vm("second")
        assert {item.name for item in await one.engine.warm.prune(dry_run=False)} == names
        assert not list(one.paths.warm.iterdir())
        assert one.engine.machines.machine(running.id) is not None

    engine().play(story)


def test_only_so_many_are_kept(engine):
    async def story(one):
        for size in (512, 600, 700):
            await one.run_vm(f"vm{size}", memory=size << 20)
            await made(one)
        assert len(await made(one)) == 2
        assert not (await one.run_vm("old", memory=512 << 20)).warm

    engine(WARM + "warm_starts_kept = 2\n").play(story)


def test_a_full_disk_is_left_alone(engine, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, "banger.engine")
    monkeypatch.setattr("banger_core.engine.warm.ROOM", 1 << 62)

    async def story(one):
        await one.run_vm("first")
        assert not await made(one)
        assert "there is no room" in caplog.text

    engine().play(story)
