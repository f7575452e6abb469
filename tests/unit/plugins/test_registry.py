"""Choosing by name, clashes, layers and isolation."""

from __future__ import annotations

import asyncio
import logging
import sys
import types
from contextlib import contextmanager

import pytest

from banger_core.contracts import KernelCatalogue
from banger_core.declare import (
    ImageSource,
    KernelProvider,
    Network,
    NetworkAttachment,
    SshPolicy,
    VmmDriver,
)
from banger_core.errors import Conflict, NotFound, PluginError, UsageProblem
from banger_core.hookspecs import hookimpl
from banger_core.model import Entry, EntryKind


class Plugin:
    """A plugin object: declarations by hook."""

    BANGER_API = 1


def plugin(name: str, **hooks):
    def declaring(hook, declarations):
        def function():
            return declarations

        function.__name__ = hook
        return staticmethod(hookimpl(function))

    body = {hook: declaring(hook, found) for hook, found in hooks.items()}
    return type(name, (Plugin,), body)


def network(name: str, load: str = "banger_core.networks.user:UserNetwork") -> Network:
    return Network(name=name, summary=name, load=load)


@pytest.fixture
def code(monkeypatch):
    """A module that declarations can name in ``load``."""
    module = types.ModuleType("under_test_code")
    monkeypatch.setitem(sys.modules, "under_test_code", module)
    return module


def test_names_in_the_order_of_plugins(fresh_registry):
    registry = fresh_registry(
        plugin("b", banger_networks=[network("z"), network("a")]),
        plugin("a", banger_networks=[network("m")]),
    )
    assert registry.networks.names() == ["z", "a", "m"]
    assert registry.networks.owner("m").name == "a"


def test_unknown_name_says_what_there_is(fresh_registry):
    registry = fresh_registry(plugin("a", banger_networks=[network("bridge"), network("user")]))
    with pytest.raises(NotFound) as caught:
        registry.networks.load("brigde")
    assert caught.value.hints[0] == "did you mean bridge?"
    assert "bridge" in caught.value.cause


def test_implementation_is_made_once(fresh_registry, code):
    made = []

    class Net:
        plan = up = down = None

        def __init__(self):
            made.append(self)
            self.plan = self.up = self.down = lambda: None

    code.Net = Net
    registry = fresh_registry(plugin("a", banger_networks=[network("x", "under_test_code:Net")]))
    assert not made
    assert registry.networks.load("x") is registry.networks.load("x")
    assert len(made) == 1


def test_clashing_name_belongs_to_nobody_and_others_work(fresh_registry):
    registry = fresh_registry(
        plugin("one", banger_networks=[network("bridge"), network("mine")]),
        plugin("two", banger_networks=[network("bridge"), network("other")]),
    )
    assert registry.networks.names() == ["mine", "other"]
    assert registry.networks.load("mine")
    for use in (registry.networks.load, registry.networks.declared, registry.networks.owner):
        with pytest.raises(Conflict) as caught:
            use("bridge")
    problem = caught.value
    assert problem.summary == "network 'bridge' is declared by 2 plugins"
    assert problem.cause == "they are one (under-test 0) and two (under-test 0)"
    assert problem.hints[0].startswith("BANGER_DISABLE=one")
    assert 'disabled = ["two"]' in problem.hints[-1]
    assert [clash.summary for clash in registry.clashes()] == [problem.summary]


def test_shared_scheme_is_a_conflict_of_that_scheme_only(fresh_registry):
    def source(name, *schemes):
        return ImageSource(name=name, summary=name, load="a.b:C", schemes=schemes)

    registry = fresh_registry(
        plugin("one", banger_image_sources=[source("docker", "oci", "docker")]),
        plugin("two", banger_image_sources=[source("podman", "oci")]),
    )
    assert registry.image_source_for("docker") == "docker"
    assert registry.image_sources.names() == ["docker", "podman"]
    with pytest.raises(Conflict, match="image scheme 'oci' is declared by 2 plugins"):
        registry.image_source_for("oci")
    with pytest.raises(NotFound, match="no image scheme named 'dokcer'"):
        registry.image_source_for("dokcer")
    assert len(registry.clashes()) == 1


def attachment(name, *after):
    return NetworkAttachment(name=name, summary=name, load="a.b:C", after=after)


def test_layers_stand_in_declared_order(fresh_registry):
    registry = fresh_registry(
        plugin(
            "a",
            banger_network_attachments=[
                attachment("inventory", "dns", "not-installed"),
                attachment("dns", "firewall"),
                attachment("firewall"),
            ],
        )
    )
    assert registry.network_attachments.names() == ["firewall", "dns", "inventory"]


def test_layers_in_a_circle_are_an_error_that_names_them(fresh_registry):
    registry = fresh_registry(
        plugin("a", banger_network_attachments=[attachment("x", "y")]),
        plugin("b", banger_network_attachments=[attachment("y", "x")]),
    )
    with pytest.raises(Conflict) as caught:
        registry.network_attachments.names()
    assert "x after y" in caught.value.summary
    assert "y after x" in caught.value.summary
    assert "b (under-test 0)" in caught.value.cause


def test_all_layers_say_whose_they_are(fresh_registry, code):
    code.policy = lambda facts: facts
    layer = SshPolicy(name="acme", summary="ACME", load="under_test_code:policy")
    registry = fresh_registry(plugin("acme-ssh", banger_ssh_policies=[layer]))
    (loaded,) = registry.ssh_policies.all()
    assert loaded.declaration == layer
    assert loaded.plugin.name == "acme-ssh"
    assert loaded.implementation("facts") == "facts"


def test_a_layer_that_cannot_be_used_is_never_left_out(fresh_registry):
    good = SshPolicy(name="good", summary="Good", load="builtins:len")
    bad = SshPolicy(name="bad", summary="Bad", load="no_such_module:policy")
    with pytest.raises(PluginError):
        fresh_registry(plugin("a", banger_ssh_policies=[good, bad])).ssh_policies.all()
    twice = fresh_registry(
        plugin("a", banger_ssh_policies=[good]), plugin("b", banger_ssh_policies=[good])
    )
    with pytest.raises(Conflict):
        twice.ssh_policies.all()


@pytest.mark.parametrize(
    ("load", "cause"),
    [
        ("no_such_module:X", "load names no_such_module:X, and there is no module no_such_module"),
        ("json.no_such:X", "load names json.no_such:X, and there is no module json.no_such"),
        (
            "under_test_code:Raiser",
            "load names under_test_code:Raiser, and under_test_code has no Raiser: did you mean R",
        ),
        ("under_test_code:Raises", "ValueError: no luck"),
        ("under_test_code:Exits", "SystemExit: 4"),
        ("under_test_code:Lacks", "under_test_code:Lacks has no method down, up"),
    ],
)
def test_implementation_that_cannot_be_loaded_names_its_plugin(fresh_registry, code, load, cause):
    class Raises:
        def __init__(self):
            raise ValueError("no\nluck")

    class Exits:
        def __init__(self):
            raise SystemExit(4)

    class Lacks:
        def plan(self):
            return None

    code.Raises, code.Exits, code.Lacks = Raises, Exits, Lacks
    registry = fresh_registry(plugin("a", banger_networks=[network("x", load)]))
    with pytest.raises(PluginError) as caught:
        registry.networks.load("x")
    assert caught.value.summary == "plugin 'a' (under-test 0) failed in banger_networks"
    assert caught.value.cause.startswith(cause)
    assert caught.value.exit_code == 5


def test_catalogue_of_kernels_must_keep_kernels(fresh_registry, code):
    class Provides:
        def available(self): ...
        def resolve(self): ...
        def materialise(self): ...

    code.Provides = Provides

    def provider(name, catalogue):
        return KernelProvider(
            name=name, summary=name, load="under_test_code:Provides", catalogue=catalogue
        )

    registry = fresh_registry(
        plugin("a", banger_kernel_providers=[provider("p", False), provider("c", True)])
    )
    assert registry.kernel_providers.load("p")
    with pytest.raises(PluginError, match="banger_kernel_providers") as caught:
        registry.kernel_providers.load("c")
    assert caught.value.cause.endswith("has no method add, remove, verify")


def test_protocol_checks_see_through_the_isolation(fresh_registry):
    registry = fresh_registry("banger_core.testing.fakes")
    assert isinstance(registry.kernel_providers.load("fake-catalogue"), KernelCatalogue)
    assert not isinstance(registry.kernel_providers.load("fake"), KernelCatalogue)


class Misbehaving:
    """A driver that raises what no plugin should, everywhere."""

    features = ("none",)

    def launch(self, plan):
        return {}[plan]

    async def accel(self):
        raise UsageProblem("asked for too much")

    async def start(self):
        return Machine()

    async def adopt(self):
        raise asyncio.CancelledError

    @contextmanager
    def layers(self):
        raise ZeroDivisionError("layers")
        yield


class Machine:
    process = 7

    async def wait(self):
        raise RuntimeError("lost it")

    async def console(self):
        yield b"one"
        raise OSError("torn")

    async def stop(self, grace): ...
    async def kill(self): ...
    async def pause(self): ...
    async def resume(self): ...
    async def snapshot(self, into): ...
    async def close(self): ...


@pytest.fixture
def misbehaving(fresh_registry, code):
    code.Driver = Misbehaving
    driver = VmmDriver(name="bad", summary="Bad", load="under_test_code:Driver")
    return fresh_registry(plugin("a", banger_vmm_drivers=[driver])).vmm_drivers.load("bad")


def test_plain_call_is_isolated_and_logged(misbehaving, caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(PluginError) as caught:
        misbehaving.launch("plan")
    assert caught.value.summary.endswith("failed in under_test_code:Driver.launch")
    assert caught.value.cause == "KeyError: 'plan'"
    assert isinstance(caught.value.__cause__, KeyError)
    (record,) = caplog.records
    assert record.name == "banger.plugin.a"
    assert "KeyError" in caplog.text


def test_other_attributes_are_the_implementation_s_own(misbehaving):
    assert misbehaving.features == ("none",)


def test_expected_errors_and_interruptions_pass_unchanged(misbehaving):
    with pytest.raises(UsageProblem, match="asked for too much"):
        asyncio.run(misbehaving.accel())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(misbehaving.adopt())


def test_machine_is_isolated_too(misbehaving):
    async def read(machine, seen):
        async for chunk in machine.console():
            seen.append(chunk)

    async def use():
        machine = await misbehaving.start()
        assert machine.process == 7
        with pytest.raises(PluginError, match=r"Driver\.start\.wait"):
            await machine.wait()
        seen = []
        with pytest.raises(PluginError) as caught:
            await read(machine, seen)
        assert seen == [b"one"]
        assert caught.value.cause == "OSError: torn"

    asyncio.run(use())


def test_entering_a_context_manager_is_isolated(misbehaving):
    with pytest.raises(PluginError, match="layers"), misbehaving.layers():
        pass


class Layer:
    """Fails where ``place`` says."""

    def __init__(self, place):
        self._place = place

    @property
    def digest(self):
        return self._fails("digest") or "sha256:" + "0" * 64

    def entries(self):
        yield Entry(path=b"a", kind=EntryKind.FILE, size=2, data=self._content())
        self._fails("entries")
        yield Entry(path=b"b", kind=EntryKind.DIRECTORY)

    def _content(self):
        yield b"a"
        self._fails("content")
        yield b"b"

    def _fails(self, place):
        if place == self._place:
            raise ZeroDivisionError(place)


class Layered:
    """An image source whose every image fails in the place that is its source."""

    name = resolve = fetch = lambda _: None

    @contextmanager
    def layers(self, place, cx):
        def opened():
            yield Layer(place)
            if place == "layers":
                raise ZeroDivisionError(place)

        yield opened()


@pytest.fixture
def layered(fresh_registry, code):
    code.Layered = Layered
    source = ImageSource(
        name="odd", summary="Odd", load="under_test_code:Layered", schemes=("odd",)
    )
    return fresh_registry(plugin("a", banger_image_sources=[source])).image_sources.load("odd")


def read(source, place):
    with source.layers(place, None) as layers:
        return [
            (layer.digest[:6], entry.path, b"".join(entry.data or ()))
            for layer in layers
            for entry in layer.entries()
        ]


def test_layers_are_read_as_they_are(layered):
    assert read(layered, "") == [("sha256", b"a", b"ab"), ("sha256", b"b", b"")]


@pytest.mark.parametrize("place", ["digest", "layers", "entries", "content"])
def test_failure_while_layers_are_read_names_the_plugin(layered, place):
    with pytest.raises(PluginError) as caught:
        read(layered, place)
    assert caught.value.summary == (
        "plugin 'a' (under-test 0) failed in under_test_code:Layered.layers"
    )
    assert caught.value.cause == f"ZeroDivisionError: {place}"


def test_who_leaves_a_layer_early_closes_the_plugin_s_iterator(layered, monkeypatch):
    closed = []

    def entries(_):
        try:
            yield Entry(path=b"a", kind=EntryKind.DIRECTORY)
            yield Entry(path=b"b", kind=EntryKind.DIRECTORY)
        finally:
            closed.append(True)

    monkeypatch.setattr(Layer, "entries", entries)
    with layered.layers("", None) as layers:
        for layer in layers:
            read = layer.entries()
            assert next(read).path == b"a"
            read.close()
    assert closed == [True]


def test_failure_inside_a_context_is_not_blamed_on_the_plugin(fresh_registry, fake_context):
    source = fresh_registry("banger_core.testing.fakes").image_sources.load("fake")
    pin = types.SimpleNamespace(data={"word": "small"})
    with pytest.raises(ZeroDivisionError), source.layers(pin, fake_context):
        raise ZeroDivisionError
