"""``banger plugin check`` finds what is wrong with each kind of thing that a plugin can declare."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from banger_core.plugins.kinds import KINDS
from banger_core.testing.install import install_plugin

PLUGIN = """
import banger_core.api as api
BANGER_API = 1
def all_of(kind, **more):
    @api.hookimpl
    def hook():
        yield kind(name="bad", summary="A", load="bad_parts:" + kind.__name__, **more)
    return hook
banger_image_sources = all_of(api.ImageSource, schemes=("bad",))
banger_kernel_providers = all_of(api.KernelProvider)
banger_guest_runtimes = all_of(api.GuestRuntime)
banger_networks = all_of(api.Network)
banger_vmm_drivers = all_of(api.VmmDriver)
banger_network_attachments = all_of(api.NetworkAttachment)
banger_ssh_policies = all_of(api.SshPolicy)
banger_event_sinks = all_of(api.EventSink)
banger_doctor_checks = all_of(api.DoctorCheck)
banger_commands = all_of(api.Command)
banger_services = all_of(api.Service)
banger_settings = all_of(api.Settings)
"""
PARTS = """
from banger_core.api import GuestPin, KernelEntry

class ImageSource:
    def name(self, ref): return "x"
    async def resolve(self, ref, cx): raise KeyError(ref.rest)
    async def fetch(self, pin, cx): pass
    def layers(self, pin, cx): pass

class KernelProvider:
    async def available(self, cx): return [KernelEntry(name="a"), KernelEntry(name="a")]
    async def resolve(self, name, cx): raise KeyError(name)
    async def materialise(self, pin, into, cx): pass

class GuestRuntime:
    async def resolve(self, architecture, cx):
        return GuestPin(runtime="bad", digest="none", architecture=architecture)
    async def materialise(self, pin, cx): raise OSError

class Network:
    def plan(self, vm_id, request, taken, settings): return {}
    async def up(self, plan, cx): pass
    async def down(self, plan, cx): pass

class VmmDriver:
    def __getattr__(self, name): return lambda *given: None

class NetworkAttachment:
    async def attach(self, vm, cx):
        with (cx.state_dir / "names").open("a") as file:
            file.write(vm.name)
    async def detach(self, vm, cx): pass

def SshPolicy(facts): return facts.vm_name

class EventSink:
    async def handle(self, event, cx): event.data["name"]

class DoctorCheck:
    async def check(self, cx): return []
    async def fix(self, cx): return []

def Command(): pass

class Service:
    async def tend(self, cx): pass
    async def answer(self, question, data, cx): return None

class Settings: pass
"""
ELSEWHERE = """
from pathlib import Path
from banger_core.api import NetworkAttachment, hookimpl
BANGER_API = 1
PLACE = Path({place!r})
LOAD = "elsewhere_elsewhere_plugin:Elsewhere"
@hookimpl
def banger_network_attachments():
    yield NetworkAttachment(name="elsewhere", summary="A", load=LOAD)
class Elsewhere:
    async def attach(self, vm, cx): PLACE.write_text(vm.name)
    async def detach(self, vm, cx): PLACE.unlink(missing_ok=True)
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(place))
    return place


@pytest.mark.timeout(900)
def test_each_kind_is_held_to_its_contract(home, site):
    install_plugin(site, "bad", source=PLUGIN)
    (site / "bad_parts.py").write_text(PARTS)
    words = "plugin check bad --json --host --with ref=bad://a --with missing=bad://b"
    # Twelve suites, one after the other: more than the other commands take
    command = [sys.executable, "-m", "banger_core", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 5, done.stderr
    said: dict[str, str] = {}
    for each in json.loads(done.stdout):
        if each["level"] == "fail":
            said[each["subject"]] = said.get(each["subject"], "") + each["why"]
    assert sorted(said) == sorted(f"{kind.noun} bad" for kind in KINDS)
    for why in said.values():
        assert "the contract asks that" in why
    assert "KeyError: 'a' (bad_parts.py, line 6)" in said["image source bad"]


def test_what_is_published_where_nobody_sees_it_is_said(cli, home, site, tmp_path):
    published = tmp_path / "published"
    install_plugin(site, "elsewhere", source=ELSEWHERE.format(place=str(published)))
    done = cli("plugin", "check", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert "1 test passes; with --host 3 more, which change this host" in done.stdout
    done = cli("plugin", "check", "elsewhere", "--host")
    assert done.returncode == 0, done.stderr
    assert (
        "WARN  network attachment elsewhere: NetworkAttachmentContract is not whole" in done.stdout
    )
    assert "why: what attach publishes is not in its directories" in done.stdout
    assert "NetworkAttachmentContract: 3 tests pass" in done.stdout
