"""Pins through the daemon: whose they are, which are stale, and what forgetting leaves."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from banger_core.contracts import HostPin, PinStore
from banger_core.daemon.ssh_api import ssh_endpoints
from banger_core.engine.pins import forget, is_stale, list_pins
from banger_core.errors import BangerError, NotFound
from banger_core.model import VmState


def pin(*names, key="new", vm_id="", line=1):
    return HostPin(
        names=names, key_type="ssh-ed25519", fingerprint=f"SHA256:{key}", line=line, vm_id=vm_id
    )


class Store:
    """Keeps pins in a list."""

    def __init__(self, *pins):
        self.pins = list(pins)

    async def attach(self, vm, cx):
        address = "[{}]:{}".format(*vm.plan.net.ssh)
        self.pins.append(pin(f"{vm.name}.vm", address, vm_id=vm.id))

    async def detach(self, vm, cx):
        raise AssertionError("nobody left")

    async def list_pins(self, cx):
        return list(self.pins)

    async def forget(self, name, cx):
        def stands(each):
            return name in each.names or any(host.startswith(f"[{name}]:") for host in each.names)

        gone = [each for each in self.pins if stands(each)]
        self.pins = [each for each in self.pins if not stands(each)]
        return gone


class NoStore:
    """An attachment that pins nothing."""

    async def attach(self, vm, cx):
        raise AssertionError("only those that pin are asked")

    async def detach(self, vm, cx):
        raise AssertionError("only those that pin are asked")


class Engine:
    def __init__(self, store, *vms):
        attachments = {"names": NoStore(), "pins": store, "broken": None}
        self.locked = []
        self.updated = []
        self.records = SimpleNamespace(
            vms=lambda: list(vms), vm=self._vm, update_vm=self.updated.append
        )
        self._vms = vms
        self.machines = SimpleNamespace(locked=self._locked)
        self.ssh = SimpleNamespace(current=lambda vm: vm)
        self.registry = SimpleNamespace(
            network_attachments=SimpleNamespace(
                names=lambda: list(attachments), load=lambda name: self._load(attachments[name])
            )
        )

    def _vm(self, ref):
        for vm in self._vms:
            if ref == vm.name or (ref and vm.id.startswith(ref)):
                return vm
        raise NotFound("VM", ref)

    def context(self, name):
        return SimpleNamespace(name=name)

    @staticmethod
    def _load(attachment):
        if attachment is None:
            raise BangerError("it is broken")
        return attachment

    @asynccontextmanager
    async def _locked(self, vm_id):
        self.locked.append(vm_id)
        yield


@pytest.fixture
def running(make_record):
    return replace(make_record("web", 1022), state=VmState.RUNNING)


def test_the_fake_is_a_pin_store():
    assert isinstance(Store(), PinStore)
    assert not isinstance(NoStore(), PinStore)


def test_pins_of_all_who_pin_are_listed(running):
    store = Store(pin("a"), pin("b", line=2))
    assert asyncio.run(list_pins(Engine(store, running))) == store.pins


@pytest.mark.parametrize(
    "name",
    [
        "web",
        "web.vm",
        "web.image.vm",
        "127.0.0.1",
        "127.0.0.1:1022",
        "[127.0.0.1]:1022",
        "ID",
        "start of ID",
    ],
)
def test_a_running_vm_is_pinned_again_whatever_it_is_called(running, name):
    old = pin("web.vm", "[127.0.0.1]:1022", key="old", vm_id=running.id)
    other = pin("other.vm", "[127.0.0.9]:1022")
    store = Store(other, old)
    engine = Engine(store, running)
    ids = {"ID": running.id, "start of ID": running.id[:4]}
    done = asyncio.run(forget(engine, ids.get(name, name)))
    assert done.vm == running
    assert done.removed == [old]
    assert [each.fingerprint for each in done.pinned] == ["SHA256:new"]
    assert store.pins == [other, *done.pinned]
    assert engine.locked == [running.id]


def test_a_stopped_vm_is_only_forgotten(running):
    stopped = replace(running, state=VmState.STOPPED)
    old = pin("web.vm", vm_id=stopped.id)
    store = Store(old)
    done = asyncio.run(forget(Engine(store, stopped), "web"))
    assert (done.removed, done.pinned, store.pins) == ([old], [], [])


@pytest.mark.parametrize("name", ["gone", "gone.vm", "10.0.0.1", "10.0.0.1:22", "[10.0.0.1]:22"])
def test_pins_of_no_vm_can_be_forgotten(name):
    old = pin("gone.vm", "[10.0.0.1]:22")
    done = asyncio.run(forget(Engine(Store(old)), name))
    assert (done.vm, done.removed) == (None, [old])


def test_what_is_not_pinned_is_not_found_with_what_is():
    with pytest.raises(NotFound) as caught:
        asyncio.run(forget(Engine(Store(pin("web.vm"))), "wob.vm"))
    assert "did you mean web.vm?" in caught.value.hints
    assert "banger ssh known-hosts" in caught.value.hints


@pytest.mark.parametrize(
    ("state", "stale"),
    [(VmState.RUNNING, False), (VmState.PAUSED, False), (VmState.STARTING, False),
     (VmState.STOPPED, True), (VmState.FAILED, True)],
)  # fmt: skip
def test_a_pin_is_stale_when_its_vm_does_not_run(running, state, stale):
    engine = Engine(Store(), replace(running, state=state))
    assert is_stale(engine, pin("web.vm", vm_id=running.id)) is stale


def test_a_pin_of_a_vm_that_is_gone_is_stale_and_one_of_nobodys_is_not(running):
    engine = Engine(Store(), running)
    assert is_stale(engine, pin("old.vm", vm_id="ffffffffffff"))
    assert not is_stale(engine, pin("github.com"))


class Request:
    def __init__(self, body=None):
        self._body = json.dumps(body or {}).encode()

    async def stream(self):
        yield self._body


def ask(engine, method, path, body=None):
    endpoint = next(e for e in ssh_endpoints(engine) if (e.method, e.path) == (method, path))
    return json.loads(asyncio.run(endpoint.handler(Request(body))).body)


def test_the_api_tells_names_from_addresses_and_whose_a_pin_is(running):
    mine = pin("web.vm", "[127.0.0.1]:1022", vm_id=running.id)
    six = pin("::1", line=2)
    hashed = pin("|1|c2FsdA==|aGFzaA==", line=3)
    engine = Engine(Store(mine, six, hashed), running)
    rows = ask(engine, "GET", "/v1/ssh/known-hosts")["pins"]
    assert [(row["name"], row["address"], row["vm"], row["line"]) for row in rows] == [
        ("web.vm", "[127.0.0.1]:1022", "web", 1),
        ("", "::1", "", 2),
        ("|1|c2FsdA==|aGFzaA==", "", "", 3),
    ]
    answer = ask(engine, "POST", "/v1/ssh/forget", {"name": "web"})
    assert answer["vm"] == "web"
    assert [row["name"] for row in answer["removed"]] == ["web.vm"]
    assert [row["stale"] for row in answer["pinned"]] == [False]


def test_the_api_writes_what_it_shows(paths, settings):
    engine = SimpleNamespace(paths=paths, settings=settings)
    shown = ask(engine, "GET", "/v1/ssh/config")
    file = paths.ssh / "config"
    assert not file.exists()
    assert ask(engine, "POST", "/v1/ssh/config") == shown
    assert file.read_text() == shown["text"]
    assert shown["include"] == f'Include "{file}"'
    assert shown["file"] == str(file)


def test_what_the_images_server_showed_is_forgotten_too(running):
    known = replace(running, state=VmState.STOPPED, image_host_keys=("ssh-ed25519 AAAA",))
    engine = Engine(Store(pin("web.image.vm", vm_id=known.id)), known)
    assert asyncio.run(forget(engine, "web")).removed
    # The next start looks anew
    assert [each.image_host_keys for each in engine.updated] == [()]
