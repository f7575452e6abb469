"""A plugin that was built against the first API works with this one, unchanged.

``tests/frozen/api_1`` is a wheel as it was built, unpacked. Nobody edits it: what breaks it breaks
the plugins of others.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from banger_core import __version__, api
from banger_core.hookspecs import Hooks
from banger_core.testing.fakes import CONFIG
from banger_core.testing.fakes.kernels import ELF

FROZEN = Path(__file__).parents[1] / "frozen" / "api_1"
SURFACE = json.loads((FROZEN.parent / "api_1_surface.json").read_text())
HOOKS = [
    *("banger_image_sources", "banger_kernel_providers", "banger_guest_runtimes"),
    *("banger_networks", "banger_vmm_drivers", "banger_network_attachments"),
    *("banger_ssh_policies", "banger_event_sinks", "banger_doctor_checks", "banger_commands"),
    *("banger_services", "banger_settings"),
]


@pytest.fixture
def frozen(monkeypatch):
    monkeypatch.syspath_prepend(str(FROZEN))
    return "frozen_api_1.plugin"


def test_it_is_what_was_built():
    with (FROZEN / "frozen_api_1-1.0.dist-info" / "RECORD").open() as file:
        rows = [(name, digest) for name, digest, _ in csv.reader(file) if digest]
    assert len(rows) > 15
    for name, digest in rows:
        found = hashlib.sha256((FROZEN / name).read_bytes()).digest()
        assert digest == "sha256=" + base64.urlsafe_b64encode(found).rstrip(b"=").decode(), name


def test_everything_that_it_declares_can_be_used(frozen, fresh_registry):
    registry = fresh_registry(frozen)
    (plugin,) = registry.plugins()
    assert (plugin.status, plugin.error, plugin.deprecations) == ("ok", "", [])
    assert sorted(plugin.declarations) == sorted(HOOKS)
    for hook in HOOKS:
        assert getattr(registry, hook.removeprefix("banger_")).load("frozen") is not None
    assert registry.image_source_for("frozen") == "frozen"


def test_a_machine_lives_with_all_of_it(frozen, fake_engine):
    seen = []

    async def life(engine):
        record = await engine.run_vm("web", "frozen://hello", network="frozen")
        seen.append((engine.state_of("frozen") / "machines" / "web").read_text())
        seen.append(record.plan.ssh["agent_forwarding"].value)
        await engine.stop_vm("web")
        await engine.start_vm("web")
        check = engine.engine.registry.doctor_checks.load("frozen")
        seen.append((await check.check(engine.engine.context("frozen")))[0].subject)

    engine = fake_engine(frozen, config='[plugins.frozen]\ngreeting = "good day"\n')
    engine.play(life)
    assert seen[0].startswith("127.77.")
    assert seen[1:] == [False, "frozen"]
    lines = (engine.state_of("frozen") / "events.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["vm.ready", "vm.stopped", "vm.ready", "vm.deleted"]
    assert not list((engine.state_of("frozen") / "machines").iterdir())


def test_it_is_chosen_for_kernel_and_guest(frozen, fake_engine, banger_paths):
    async def life(engine):
        place = engine.state_of("frozen") / "linux-1"
        place.mkdir()
        (place / "vmlinux").write_bytes(ELF)
        return await engine.run_vm("web", kernel="linux-1")

    engine = fake_engine(frozen)
    chosen = CONFIG.replace('provider = "fake"', 'provider = "frozen"')
    banger_paths.settings_file.write_text(chosen.replace('runtime = "fake"', 'runtime = "frozen"'))
    plan = engine.play(life).plan
    assert (plan.kernel.name, plan.guest.runtime) == ("linux-1", "frozen")


def test_its_command_and_service_answer(frozen, banger_daemon):
    house = banger_daemon(frozen)
    assert house.json("frozen", "list") == []
    assert house.banger("frozen", "greet", "banger") == "hello, banger\n"


# --- what the API promises --------------------------------------------------------------------


def test_the_api_version_is_the_one_that_was_frozen():
    assert api.API_VERSION == 1, "freeze a plugin for the new API, and keep this one running"


def test_no_name_has_gone():
    gone = [name for name in SURFACE["names"] if not hasattr(api, name)]
    assert not gone, "deprecate a name first (api._GOING), and let it go with a new API_VERSION"


@pytest.mark.parametrize("name", SURFACE["fields"])
def test_values_only_grow_fields_that_have_defaults(name):
    fields = {field.name: field for field in dataclasses.fields(getattr(api, name))}
    assert set(SURFACE["fields"][name]) <= set(fields)
    for new in set(fields) - set(SURFACE["fields"][name]):
        default = fields[new].default, fields[new].default_factory
        assert default != (dataclasses.MISSING, dataclasses.MISSING), f"{name}.{new}"


@pytest.mark.parametrize("name", SURFACE["methods"])
def test_no_method_has_gone(name):
    assert set(SURFACE["methods"][name]) <= set(dir(getattr(api, name)))


def test_no_hook_has_gone():
    assert set(HOOKS) <= set(vars(Hooks))


def test_what_was_to_go_has_gone():
    def numbers(version):
        return [int(part) for part in version.split(".")[:2]]

    late = [name for name, going in api._GOING.items() if numbers(going[2]) <= numbers(__version__)]
    assert not late, f"banger {__version__} is the release in which these go"
