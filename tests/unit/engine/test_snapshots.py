"""Snapshots over the fakes: the engine is the real one, the machine is a small program."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest

from banger_core.engine import standstill
from banger_core.engine.change import Change, change
from banger_core.engine.restore import restore_snapshot
from banger_core.engine.snapshot_files import MANIFEST, check, content_digest
from banger_core.engine.snapshots import create_snapshot, delete_snapshots
from banger_core.engine.verbs import pause
from banger_core.errors import (
    Conflict,
    HostNotReady,
    IntegrityError,
    NoSpace,
    NotFound,
    UsageProblem,
)
from banger_core.model import VmState
from banger_core.testing.fakes.driver import FakeDriver, FakeMachine


def directory_of(house, snapshot):
    return house.paths.snapshots / snapshot.id


def root_disk(house, record):
    (disk,) = house.paths.vm_state(record.id).glob("root.*")
    return disk


async def operate(house, work):
    return await house.operate("working", work)


async def snapshot(house, name="", ref="web"):
    _, made = await operate(house, lambda op: create_snapshot(house.engine, ref, name, op))
    return made


async def restore(house, name, ref="web"):
    record, _ = await operate(house, lambda op: restore_snapshot(house.engine, ref, name, op))
    return record


def test_a_snapshot_says_what_it_is_and_the_machine_goes_on(fake_engine):
    async def story(house):
        vm = await house.run_vm("web")
        made = await snapshot(house)
        assert made.name == "s1"
        assert house.engine.records.vm("web") == vm
        assert house.engine.snapshots.one(vm.id, "s1") == made
        assert made.needs["driver"] == "fake"
        assert made.needs["kernel"].startswith("sha256:")
        assert made.needs["memory"] == str(vm.plan.memory)
        assert {file.name for file in made.files} == {"vmm/state.json", root_disk(house, vm).name}
        place = directory_of(house, made)
        assert json.loads((place / MANIFEST).read_text())["name"] == "s1"
        for path in (place, *place.rglob("*")):
            assert not path.lstat().st_mode & 0o077, path
        assert (await snapshot(house)).name == "s2"
        with pytest.raises(Conflict, match="named s2 already"):
            await snapshot(house, "s2")
        with pytest.raises(UsageProblem, match="cannot be the name"):
            await snapshot(house, "../s")
        assert len(list(house.paths.snapshots.iterdir())) == 2

    fake_engine().play(story)


def test_disks_go_back_and_so_does_what_was_changed(fake_engine):
    async def story(house):
        vm = await house.run_vm("web", memory=256 << 20)
        disk = root_disk(house, vm)
        then = disk.read_bytes()
        await snapshot(house, "then")
        with disk.open("r+b") as file:
            file.write(b"later")
        await house.stop_vm("web")
        wish = Change(memory=512 << 20, labels={"team": "web"})
        await operate(house, lambda op: change(house.engine, "web", wish, op))
        back = await restore(house, "then")
        assert back.state is VmState.RUNNING
        assert back.plan.memory == 256 << 20
        assert back.plan.labels == {"team": "web"}
        assert back.plan.net == vm.plan.net
        assert disk.read_bytes() == then
        # And once more, from a machine that runs
        first = back.process
        with disk.open("r+b") as file:
            file.write(b"again")
        again = await restore(house, "then")
        assert (again.state, disk.read_bytes()) == (VmState.RUNNING, then)
        assert again.process != first
        assert not [each for each in house.engine.intents.of(vm.id) if each.kind == "disks"]
        assert sorted(path.name for path in disk.parent.iterdir() if path.is_dir()) == []

    fake_engine().play(story)


def test_a_paused_machine_stays_paused_and_a_stopped_one_has_no_memory(fake_engine):
    async def story(house):
        vm = await house.run_vm("web")
        await operate(house, lambda op: pause(house.engine, "web", op))
        await snapshot(house, "paused")
        assert house.engine.records.vm("web").state is VmState.PAUSED
        assert (await restore(house, "paused")).state is VmState.RUNNING
        await house.stop_vm("web")
        with pytest.raises(Conflict, match="web is stopped") as caught:
            await snapshot(house)
        assert caught.value.hints == ("banger vm start web",)
        assert [each.name for each in house.engine.snapshots.of(vm.id)] == ["paused"]

    fake_engine().play(story)


def cut(place):
    path = place / "vmm" / "state.json"
    os.truncate(path, path.stat().st_size - 1)


def other_bytes(place):
    (disk,) = place.glob("root.*")
    with disk.open("r+b") as file:
        file.seek(disk.stat().st_size // 2)
        file.write(b"!")


def no_disk(place):
    (disk,) = place.glob("root.*")
    disk.unlink()


def a_link(place):
    (disk,) = place.glob("root.*")
    disk.rename(place.parent.parent / "elsewhere")
    disk.symlink_to(place.parent.parent / "elsewhere")


def foreign_manifest(place):
    said = json.loads((place / MANIFEST).read_text())
    said["files"][0]["name"] = "../../../etc/passwd"
    (place / MANIFEST).write_text(json.dumps(said))


def cut_manifest(place):
    os.truncate(place / MANIFEST, 20)


def one_more(place):
    (place / "vmm" / "more").write_bytes(b"")


DAMAGES = (
    cut, other_bytes, no_disk, a_link, foreign_manifest, cut_manifest, one_more, shutil.rmtree
)  # fmt: skip


def test_what_is_not_what_was_written_starts_and_changes_nothing(fake_engine):
    async def story(house):
        await house.run_vm("web")
        await operate(house, lambda op: pause(house.engine, "web", op))
        vm = house.engine.records.vm("web")
        for damage in DAMAGES:
            made = await snapshot(house, "one")
            damage(directory_of(house, made))
            with pytest.raises(IntegrityError):
                await restore(house, "one")
            assert house.engine.records.vm("web") == vm, damage
            await operate(house, lambda op: delete_snapshots(house.engine, "web", ["one"], op))
            assert not directory_of(house, made).exists()

    fake_engine().play(story)


@pytest.mark.parametrize("running", [True, False])
def test_other_versions_are_named_and_nothing_is_touched(fake_engine, monkeypatch, running):
    async def newer(self, spec, cx):
        return {"fake": "2", "memory": str(spec.data["memory"])}

    # What is loaded is wrapped, so it is patched before
    monkeypatch.setattr(FakeDriver, "offers", newer)

    async def story(house):
        await house.run_vm("web")
        await snapshot(house, "one")
        if not running:
            await house.stop_vm("web")
        vm = house.engine.records.vm("web")
        with pytest.raises(HostNotReady, match="cannot go on here") as caught:
            await restore(house, "one")
        assert caught.value.cause == "it needs fake 1, here is 2"
        assert house.engine.records.vm("web") == vm

    fake_engine().play(story)


def test_a_machine_that_does_not_go_on_gets_its_disks_back(fake_engine, monkeypatch):
    async def fail(self, spec, source, cx):
        raise IntegrityError("it does not like it")

    monkeypatch.setattr(FakeDriver, "restore", fail)

    async def story(house):
        vm = await house.run_vm("web", memory=256 << 20)
        disk = root_disk(house, vm)
        await snapshot(house, "one")
        await house.stop_vm("web")
        wish = Change(memory=512 << 20)
        await operate(house, lambda op: change(house.engine, "web", wish, op))
        with disk.open("r+b") as file:
            file.write(b"mine")
        mine = disk.read_bytes()

        with pytest.raises(IntegrityError, match="does not like"):
            await restore(house, "one")
        after = house.engine.records.vm("web")
        assert (after.state, after.problem) == (VmState.STOPPED, "it does not like it")
        assert after.plan.memory == 512 << 20
        assert disk.read_bytes() == mine
        assert house.engine.intents.of(vm.id)
        assert {each.kind for each in house.engine.intents.of(vm.id)} == {"directory"}

    fake_engine().play(story)


@pytest.mark.parametrize("where", ["snapshot", "copy_disks"])
def test_a_snapshot_that_fails_leaves_nothing_and_the_machine_as_it_was(
    fake_engine, monkeypatch, where
):
    resumed = []
    resume = FakeMachine.resume

    async def note(self):
        resumed.append(self.process)
        await resume(self)

    def fail(*_):
        raise NoSpace("no space left")

    async def fail_too(*_):
        fail()

    monkeypatch.setattr(FakeMachine, "resume", note)
    if where == "snapshot":
        monkeypatch.setattr(FakeMachine, "snapshot", fail_too)
    else:
        monkeypatch.setattr(standstill, "copy_disks", fail)

    async def story(house):
        vm = await house.run_vm("web")
        with pytest.raises(NoSpace):
            await snapshot(house)
        assert resumed == [vm.process]
        assert house.engine.records.vm("web") == vm
        assert list(house.paths.snapshots.iterdir()) == []
        assert {each.vm_id for each in house.engine.intents.all()} <= {
            vm.id, *(f"image-{image.id}" for image in house.engine.records.images())
        }  # fmt: skip
        assert not [each for each in house.engine.intents.all() if each.kind == "standstill"]

    fake_engine().play(story)


def test_room_is_looked_for_before_anything_stands_still(fake_engine, monkeypatch):
    async def never(self):
        raise AssertionError("it was paused")

    monkeypatch.setattr(FakeMachine, "pause", never)

    async def story(house):
        await house.run_vm("web")
        usage = shutil.disk_usage(house.paths.state)
        full = usage._replace(free=1 << 20)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(NoSpace, match="memory and disks of web"):
            await snapshot(house)

    fake_engine().play(story)


def test_snapshots_go_with_their_machine_and_that_is_said(fake_engine):
    def notices(house):
        return [each.data["text"] for each in house.events if each.kind == "notice"]

    async def story(house):
        await house.run_vm("web")
        made = [await snapshot(house, name) for name in ("one", "two")]
        with pytest.raises(NotFound, match="three"):
            await operate(
                house, lambda op: delete_snapshots(house.engine, "web", ["one", "three"], op)
            )
        assert len(house.engine.snapshots.all()) == 2
        await house.delete_vm("web")
        assert house.engine.snapshots.all() == []
        assert not any(directory_of(house, each).exists() for each in made)
        return made

    house = fake_engine()
    house.play(story)
    assert "its snapshots are deleted, too: one, two" in notices(house)


def test_a_digest_is_of_the_content_and_not_of_its_holes(tmp_path):
    sparse, full, other = (tmp_path / name for name in ("sparse", "full", "other"))
    size = (1 << 20) + 123
    with sparse.open("wb") as file:
        file.truncate(size)
        file.seek(700_000)
        file.write(b"data")
    full.write_bytes(bytes(700_000) + b"data" + bytes(size - 700_004))
    other.write_bytes(bytes(700_001) + b"data" + bytes(size - 700_005))
    assert content_digest(sparse) == content_digest(full)
    assert content_digest(sparse)[0] == size
    assert content_digest(other) != content_digest(full)
    os.truncate(sparse, size + 1)
    assert content_digest(sparse) != content_digest(full)


def test_a_snapshot_of_another_form_is_refused(fake_engine):
    async def story(house):
        await house.run_vm("web")
        made = await snapshot(house, "one")
        newer = replace(made, format=made.format + 1)
        with pytest.raises(IntegrityError) as caught:
            check(directory_of(house, made), newer, lambda *_: None)
        assert "form 2" in caught.value.cause

    fake_engine().play(story)
