"""Each hook's documented example runs as a plugin, and its documentation is complete."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
import types
from collections.abc import Iterable
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from banger_core import declare
from banger_core.hookspecs import Hooks
from banger_core.plugins.kinds import KINDS

ROOT = Path(__file__).parents[2]
HOOKS = [name for name in vars(Hooks) if name.startswith("banger_")]


@pytest.fixture
def offered(fresh_registry):
    """What the documented example of a hook declares, through the real machinery."""

    def run(hook: str):
        text = inspect.getdoc(getattr(Hooks, hook)) or ""
        example = text.partition("Example::")[2].partition("When it is not called:")[0]
        module = types.ModuleType(f"example_{hook}")
        exec(compile(textwrap.dedent(example), hook, "exec"), module.__dict__)
        registry = fresh_registry(module)
        (plugin,) = registry.plugins()
        assert plugin.status == "ok", plugin.error
        (offer,) = getattr(registry, hook.removeprefix("banger_")).offers()
        return registry, offer.declaration

    return run


def test_banger_image_sources(offered):
    registry, source = offered("banger_image_sources")
    assert registry.image_source_for("nix") == source.name == "nix"
    assert source.requires == ("bin:nix-store",)


def test_banger_kernel_providers(offered):
    registry, provider = offered("banger_kernel_providers")
    assert registry.kernel_providers.names() == ["alpine"]
    assert provider.catalogue is False


def test_banger_guest_runtimes(offered):
    registry, runtime = offered("banger_guest_runtimes")
    assert registry.guest_runtimes.declared("alpine") == runtime


def test_banger_networks(offered):
    registry, network = offered("banger_networks")
    assert registry.networks.declared("vlan").requires == network.requires != ()


def test_banger_vmm_drivers(offered):
    _, driver = offered("banger_vmm_drivers")
    assert (driver.disk_formats, driver.networks) == (("raw",), ("tap",))
    assert driver.features == ("pause", "snapshot")


def test_banger_network_attachments(offered):
    registry, attachment = offered("banger_network_attachments")
    assert attachment.after == ("dns",)
    # What is not installed is not waited for
    assert registry.network_attachments.names() == ["inventory"]


def test_banger_ssh_policies(offered):
    _, policy = offered("banger_ssh_policies")
    assert policy.precedence == 400


def test_banger_event_sinks(offered):
    registry, sink = offered("banger_event_sinks")
    assert registry.event_sinks.names() == ["chat"]
    assert sink.wants("vm.ready")
    assert not sink.wants("operation.done")


def test_banger_doctor_checks(offered):
    registry, check = offered("banger_doctor_checks")
    assert registry.doctor_checks.declared("clock") == check


def test_banger_commands(offered):
    registry, command = offered("banger_commands")
    assert registry.commands.declared("inventory") == command


def test_banger_services(offered):
    registry, service = offered("banger_services")
    assert registry.services.declared("inventory") == service


def test_banger_settings(offered):
    registry, settings = offered("banger_settings")
    assert registry.settings.declared("nix") == settings


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_a_test_named_after_it(hook):
    assert callable(globals().get(f"test_{hook}")), f"write test_{hook} here"


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_documented_with_its_signature(hook):
    page = (ROOT / "docs/reference/hooks.md").read_text()
    returns = get_type_hints(getattr(Hooks, hook), {"declare": declare, "Iterable": Iterable})
    (declared,) = get_args(returns["return"])
    assert f"def {hook}() -> Iterable[{declared.__name__}]: ..." in page
    assert f"## {hook}\n" in page


@pytest.mark.parametrize("hook", HOOKS)
def test_docstring_has_sentence_example_and_limits(hook):
    text = inspect.getdoc(getattr(Hooks, hook)) or ""
    assert re.match(r"Yield the .+\.\n\n", text)
    assert text.count("Example::") == text.count("When it is not called: ") == 1


def test_kinds_are_the_hooks():
    assert [kind.hook for kind in KINDS] == HOOKS
    for kind in KINDS:
        returns = get_type_hints(
            getattr(Hooks, kind.hook), {"declare": declare, "Iterable": Iterable}
        )
        assert get_args(returns["return"]) == (kind.declares,)


def test_every_declaration_has_a_hook():
    declared = {
        value
        for value in vars(declare).values()
        if isinstance(value, type) and issubclass(value, declare.Declared)
    }
    assert declared - {declare.Declared} == {kind.declares for kind in KINDS}


def test_every_hook_is_used_by_a_plugin_of_this_repository():
    modules = [*ROOT.glob("*/*/src/*/plugin.py"), ROOT / "banger_core/networks/plugin.py"]
    used = "\n".join(module.read_text() for module in modules)
    unused = [hook for hook in HOOKS if f"def {hook}(" not in used]
    assert not unused, "a hook comes together with a plugin that uses it"


def test_page_is_up_to_date():
    import subprocess

    command = [sys.executable, str(ROOT / "scripts/generate_hooks.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
