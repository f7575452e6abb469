"""Links and the way out of a VM, changed while it exists: the engine's part, over a network that
writes down what it is told.
"""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import pytest

from banger_core.api import Network, VmmDriver, hookimpl
from banger_core.daemon.views import vm_details
from banger_core.engine.change import Change, change
from banger_core.errors import Conflict, HostNotReady, NotFound, UsageProblem
from banger_core.model import VmState
from banger_core.networks.user import UserNetwork


class Fixed(UserNetwork):
    """The network ``told``, when it changes nothing of what runs."""

    name = "told"
    up_with: dict[str, tuple[str, ...]]

    def plan(self, vm_id, request, taken, settings):
        plan = super().plan(vm_id, replace(request, link=()), taken, settings)
        return replace(plan, kind="tap", tap=f"t-{vm_id}")

    async def up(self, plan, cx):
        await super().up(plan, cx)
        Told.up_with[plan.tap] = plan.links


class Told(Fixed):
    """The network ``told``."""

    changed: list[tuple[str, bool, tuple[str, ...]]]
    problem: Exception | None = None

    async def change(self, plan, cx):
        Told.changed.append((plan.tap, plan.outbound, plan.links))
        if Told.problem:
            raise Told.problem


class Plugin:
    BANGER_API = 1

    @staticmethod
    @hookimpl
    def banger_networks():
        yield Network(name="told", summary="Told", load="told_code:Told")

    @staticmethod
    @hookimpl
    def banger_vmm_drivers():
        yield VmmDriver(
            name="tapping",
            summary="A fake with a tap",
            load="banger_core.testing.fakes.driver:FakeDriver",
            disk_formats=("raw",),
            networks=("tap", "user"),
            features=("pause", "snapshot", "fork"),
        )


@pytest.fixture
def house(fake_engine, monkeypatch):
    code = types.ModuleType("told_code")
    code.Told = Told
    monkeypatch.setitem(sys.modules, "told_code", code)
    Told.up_with, Told.changed, Told.problem = {}, [], None
    return fake_engine(Plugin)


async def run(house, name, **wishes):
    return await house.run_vm(name, driver="tapping", network="told", **wishes)


async def set_vm(house, ref, **wanted):
    return await house.operate(
        f"changing {ref}", lambda op: change(house.engine, ref, Change(**wanted), op)
    )


def links(house, ref):
    records = house.engine.records
    return vm_details(records.vm(ref), records.vms())["links"]


def kinds(house, record):
    return [intent.kind for intent in house.engine.intents.of(record.id)]


def tap(house, ref):
    return house.engine.records.vm(ref).plan.net.tap


def test_links_are_made_and_undone_from_either_side(house):
    async def story(house):
        for name in ("one", "two", "three"):
            await run(house, name)
        await set_vm(house, "one", link=("two",))
        assert Told.changed.pop() == (tap(house, "one"), True, (tap(house, "two"),))
        assert (links(house, "one"), links(house, "two")) == (["two"], ["one"])
        # Said again, by whichever of them, it is like that already
        await set_vm(house, "one", link=(house.engine.records.vm("two").id,))
        await set_vm(house, "two", link=("one",))
        assert Told.changed == []
        await set_vm(house, "two", unlink=("one",), link=("three",))
        assert Told.changed.pop() == (tap(house, "two"), True, (tap(house, "three"),))
        assert (links(house, "one"), links(house, "two")) == ([], ["three"])
        assert house.engine.intents.of(house.engine.records.vm("two").id)[0].kind != "change"

    house.play(story)


def test_a_start_brings_the_links_of_both(house):
    async def story(house):
        await run(house, "one")
        await run(house, "two", link=("one",))
        assert Told.up_with[tap(house, "two")] == (tap(house, "one"),)
        await house.stop_vm("one")
        await house.start_vm("one")
        assert Told.up_with[tap(house, "one")] == (tap(house, "two"),)
        # One that is stopped is changed in its plan alone
        await house.stop_vm("two")
        await set_vm(house, "two", unlink=("one",), nat=False)
        assert Told.changed == []
        await house.start_vm("two")
        assert Told.up_with[tap(house, "two")] == ()
        await set_vm(house, "one", link=("two",))
        await house.delete_vm("two")
        assert links(house, "one") == []
        await run(house, "four")
        await set_vm(house, "one", link=("four",))
        assert house.engine.records.vm("one").plan.net.links == (tap(house, "four"),)

    house.play(story)


def test_what_the_network_does_not_do_is_not_recorded(house):
    async def story(house):
        one, two = await run(house, "one"), await run(house, "two", link=("one",))
        Told.problem = HostNotReady("this host forwards no packets", cause="it is off")
        for wanted in ({"nat": False}, {"unlink": ("two",)}, {"nat": False, "unlink": ("two",)}):
            with pytest.raises(HostNotReady, match="forwards no packets"):
                await set_vm(house, "one", **wanted)
            assert house.engine.records.vm("one") == one
            assert house.engine.records.vm("two") == two
            # The second time it is told what it was
            assert Told.changed[-1] == (tap(house, "one"), True, (tap(house, "two"),))
        # It did not hear that either, so the next daemon will say it
        Told.problem = None
        assert "change" in kinds(house, one)
        await house.engine.machines.adopt(one)
        assert "change" not in kinds(house, one)
        # What takes a stopped machine changes nothing of what does not
        Told.changed.clear()
        with pytest.raises(Conflict, match="one is running") as problem:
            await set_vm(house, "one", nat=False, memory=one.plan.memory * 2)
        assert problem.value.cause.startswith("--memory can be changed")
        assert Told.changed == []
        assert house.engine.records.vm("one") == one

    house.play(story)


def test_where_links_cannot_change_neither_side_undoes_them(house, monkeypatch):
    monkeypatch.setattr(sys.modules["told_code"], "Told", Fixed)

    async def story(house):
        one, two = await run(house, "one"), await run(house, "two", link=("one",))
        for ref, other, option in (("one", "two", "--unlink"), ("two", "one", "--link")):
            with pytest.raises(Conflict, match=f"{ref} is running") as problem:
                await set_vm(house, ref, unlink=(other,))
            assert problem.value.cause.startswith(f"{option} can be changed")
        assert [house.engine.records.vm(each) for each in ("one", "two")] == [one, two]

    house.play(story)


def test_who_cannot_be_linked(house):
    async def story(house):
        await run(house, "one")
        await run(house, "two")
        await house.run_vm("alone")
        for ref, wanted, kind, text in (
            ("one", {"link": ("one",)}, UsageProblem, "one cannot be linked with itself"),
            ("one", {"link": ("alone",)}, NotFound, "no VM on the network told named 'alone'"),
            ("one", {"unlink": ("nobody",)}, NotFound, "no VM on the network told named 'nobody'"),
            ("alone", {"link": ("one",)}, UsageProblem, "the network user cannot link machines"),
            ("alone", {"nat": False}, Conflict, "alone is running"),
            ("one", {"link": ("two",), "unlink": ("two",)}, UsageProblem, "linked and unlinked"),
        ):
            with pytest.raises(kind, match=text):
                await set_vm(house, ref, **wanted)
        assert Told.changed == []

    house.play(story)


def test_the_next_daemon_does_what_was_only_written_down(house):
    async def begin(house):
        one, two = await run(house, "one"), await run(house, "two")
        after = replace(
            one, plan=replace(one.plan, net=replace(one.plan.net, links=(two.plan.net.tap,)))
        )
        house.engine.intents.begin(one.id, "change", "told")
        house.engine.records.update_vm(after)
        Told.problem = HostNotReady("not now")
        await house.engine.machines.adopt(house.engine.records.vm("one"))
        assert house.engine.records.vm("one").state is VmState.RUNNING
        Told.problem = None
        await house.engine.machines.adopt(house.engine.records.vm("one"))
        assert Told.changed == [(one.plan.net.tap, True, (two.plan.net.tap,))] * 2
        await house.engine.machines.adopt(house.engine.records.vm("one"))
        assert len(Told.changed) == 2

    house.play(begin)
