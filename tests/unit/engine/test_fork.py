"""Copies of machines over the fakes: the engine is the real one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from banger_core.engine.fork import fork
from banger_core.engine.verbs import pause
from banger_core.errors import Conflict, GuestFailed, UsageProblem
from banger_core.guest.helper import GuestHelper
from banger_core.model import NetPlan, Publish, VmState
from banger_core.plan.names import numbered_names
from banger_core.testing.fakes.driver import FakeMachine


async def copies(house, count=1, name="", ref="web"):
    done = await house.operate("copying", lambda op: fork(house.engine, ref, count, name, op))
    return [record for record, _ in done]


def disk_of(house, record):
    (disk,) = house.paths.vm_state(record.id).glob("root.*")
    return disk.read_bytes()


def test_each_copy_is_a_machine_of_its_own(fake_engine):
    async def story(house):
        port = Publish(host_port=8080, guest_port=80)
        origin = await house.run_vm("web", publish=(port,), labels={"team": "web"})
        made = await copies(house, 2)
        assert [each.name for each in made] == ["web-1", "web-2"]
        everybody = [origin, *made]
        for what in (
            lambda vm: vm.id,
            lambda vm: vm.plan.net.mac,
            lambda vm: vm.plan.net.ssh,
            lambda vm: vm.host_key,
            lambda vm: vm.process,
            lambda vm: (house.paths.vm_state(vm.id) / "hostkey").read_bytes(),
            lambda vm: (house.paths.vm_state(vm.id) / "seed.img").read_bytes(),
        ):
            assert len({what(vm) for vm in everybody}) == 3
        assert {disk_of(house, vm) for vm in everybody} == {disk_of(house, origin)}
        for each in made:
            assert each.state is VmState.RUNNING
            assert each == house.engine.records.vm(each.name)
            assert each.plan.labels == {"team": "web"}
            assert port in [forward.publish for forward in each.plan.net.forwards]
            for path in house.paths.vm_state(each.id).rglob("*"):
                assert not path.lstat().st_mode & 0o077, path
        assert house.engine.records.vm("web") == origin
        assert list(house.paths.snapshots.iterdir()) == []
        # They are like any other machine
        await house.stop_vm("web-1")
        await house.start_vm("web-1")
        assert (await copies(house, name="db", ref="web-2"))[0].name == "db"

    fake_engine().play(story)


def test_a_guest_that_does_not_become_another_is_no_copy(fake_engine):
    async def story(house):
        origin = await house.run_vm("web", labels={"guest": "unchanging"})
        with pytest.raises(GuestFailed, match="web was not copied") as caught:
            await copies(house, 2)
        assert "no copy was kept" in caught.value.hints
        assert house.engine.records.vms() == [origin]
        assert [path.name for path in (house.paths.state / "vms").iterdir()] == [origin.id]
        assert list(house.paths.snapshots.iterdir()) == []
        owners = {each.vm_id for each in house.engine.intents.all()}
        assert owners == {origin.id, f"image-{origin.image_id}"}

    fake_engine().play(story)


def test_what_cannot_be_copied_is_said_before_anything_is_made(fake_engine):
    async def story(house):
        await house.run_vm("web")
        for name, kind in (("web", Conflict), ("Web_1", UsageProblem)):
            with pytest.raises(kind):
                await copies(house, name=name)
        await house.stop_vm("web")
        with pytest.raises(Conflict, match="web is stopped"):
            await copies(house)
        assert len(house.engine.records.vms()) == 1

    fake_engine().play(story)


def test_a_driver_whose_machines_cannot_be_unplugged_makes_no_copies(fake_engine, monkeypatch):
    async def story(house):
        await house.run_vm("web")
        drivers = house.engine.registry.vmm_drivers
        without = replace(drivers.declared("fake"), features=("pause", "snapshot"))
        with monkeypatch.context() as patch:
            patch.setattr(drivers, "declared", lambda _: without)
            with pytest.raises(UsageProblem, match="web can have no fork") as caught:
                await copies(house)
        assert caught.value.cause == "its driver fake offers none"

    fake_engine().play(story)


TAP = NetPlan(network="taps", kind="tap", guest_address="10.9.0.1/24", tap="tap7")


class Taps:
    """A network that tells what is asked of it, in place of the one that the fakes are on."""

    def __init__(self, network, told):
        self._network, self._told = network, told
        self.plan, self.down = network.plan, network.down

    async def up(self, plan, cx):
        self._told.append("up")
        await self._network.up(plan, cx)

    async def hold(self, plan, cx):
        self._told.append("hold")

    async def release(self, plan, cx):
        self._told.append("release")


def test_a_network_keeps_a_copy_cut_off_until_it_is_another(fake_engine, monkeypatch):
    async def story(house):
        await house.run_vm("web")
        networks, told = house.engine.registry.networks, []
        taps = Taps(networks.load("user"), told)
        told_by = {
            (FakeMachine, "resume"): "resume",
            (GuestHelper, "ask"): "ask",
            (FakeMachine, "connect"): "connect",
        }
        with monkeypatch.context() as patch:
            patch.setattr(networks, "load", lambda _: taps)
            for (kind, name), word in told_by.items():
                patch.setattr(kind, name, noted(getattr(kind, name), word, told))
            await copies(house)
            began = told.index("up")
            rest = [word for word in told[began:] if word != "ask"]
            assert rest == ["up", "hold", "resume", "connect", "release"]
            # The last thing that the guest was asked came before
            assert "ask" in told[began:-2]
            assert told[-2:] == ["connect", "release"]

    fake_engine().play(story)


def noted(method, word, told):
    async def call(*args, **options):
        told.append(word)
        return await method(*args, **options)

    return call


def test_a_network_that_cannot_cut_off_has_no_copies(fake_engine):
    async def story(house):
        origin = await house.run_vm("web")
        house.engine.records.update_vm(
            replace(origin, plan=replace(origin.plan, net=replace(TAP, network="user")))
        )
        with pytest.raises(UsageProblem, match="web cannot be copied") as caught:
            await copies(house)
        assert "cannot keep a copy cut off" in caught.value.cause
        house.engine.records.update_vm(origin)
        assert len(house.engine.records.vms()) == 1

    fake_engine().play(story)


def test_a_paused_machine_is_copied_and_stays_paused(fake_engine):
    async def story(house):
        await house.run_vm("web")
        await house.operate("pausing", lambda op: pause(house.engine, "web", op))
        (copy,) = await copies(house)
        assert copy.state is VmState.RUNNING
        assert house.engine.records.vm("web").state is VmState.PAUSED

    fake_engine().play(story)


def test_names_with_numbers_are_labels():
    assert numbered_names("web", 3, {"web-2"}) == ["web-1", "web-3", "web-4"]
    (long,) = numbered_names("w" * 55 + "-long-name", 1, ())
    assert long == "w" * 55 + "-1"
