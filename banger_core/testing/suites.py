"""The suite of each kind, made ready for one declaration of an installed plugin."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from banger_core.config.paths import Paths
from banger_core.config.settings import load_settings
from banger_core.errors import BangerError
from banger_core.plugins.kinds import SETTINGS
from banger_core.testing import contracts
from banger_core.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from banger_core.declare import Declared
    from banger_core.plugins.kinds import Kind
    from banger_core.plugins.registry import Registry

SUITES: dict[str, type[Contract]] = {
    "banger_image_sources": contracts.ImageSourceContract,
    "banger_kernel_providers": contracts.KernelProviderContract,
    "banger_guest_runtimes": contracts.GuestRuntimeContract,
    "banger_networks": contracts.NetworkContract,
    "banger_vmm_drivers": contracts.VmmDriverContract,
    "banger_network_attachments": contracts.NetworkAttachmentContract,
    "banger_ssh_policies": contracts.SshPolicyContract,
    "banger_event_sinks": contracts.EventSinkContract,
    "banger_doctor_checks": contracts.DoctorCheckContract,
    "banger_commands": contracts.CommandContract,
    "banger_services": contracts.ServiceContract,
    "banger_settings": contracts.SettingsContract,
}
"""One for each hook: what strangers' plugins are held to, ours are too."""

EXAMPLES = {
    "banger_image_sources": ("ref", "missing"),
}
"""What a suite needs to know that no declaration says."""

CHOSEN: type | None = None
"""The suite that is being run, for the file that pytest collects."""


def suite_of(
    registry: Registry, kind: Kind[Any], declaration: Declared, options: Mapping[str, str]
) -> type[Contract] | str:
    """Return the suite for ``declaration``, or the options that it lacks.

    Raises PluginError when the implementation cannot be imported.
    """
    getattr(registry, kind.hook.removeprefix("banger_")).load(declaration.name)
    # The plugin's own, as its author tests it, and not in the isolation that the daemon gives it
    module, _, attribute = declaration.load.partition(":")
    target = getattr(import_module(module), attribute)
    wanted = EXAMPLES.get(kind.hook, ())
    if missing := [name for name in wanted if name not in options]:
        return " ".join(f"--with {name}=…" for name in missing)
    members: dict[str, Any] = {name: options[name] for name in wanted}
    members |= {"cannot_tell": _cannot_tell, **_subject(kind, declaration, target, options)}
    if kind is not SETTINGS:
        settings = _settings(registry, declaration.name)
        # Networks and policies are pure: they get their settings without a context
        members |= {"cx": _context(settings), "settings": settings}
    suite: type[Contract] = SUITES[kind.hook]
    if getattr(declaration, "catalogue", False):
        suite = contracts.KernelCatalogueContract
    return type(f"Test{kind.declares.__name__}", (suite,), members)


def _cannot_tell(_suite: object, what: str, options: str = "") -> NoReturn:
    """Nobody but the author can say more: that is told, and held against nobody."""
    pytest.xfail(f"{what}\n{options}")


def _subject(
    kind: Kind[Any], declaration: Declared, target: Any, options: Mapping[str, str]
) -> dict[str, Any]:
    if kind.hook == "banger_ssh_policies":
        return {"policy": staticmethod(target)}
    if kind.hook == "banger_commands":
        return {"make": _as_it_is(target), "name": declaration.name}
    if kind.contract is None:
        return {"make": target}
    members: dict[str, Any] = {"make": staticmethod(target)}
    if kind.hook == "banger_kernel_providers":
        members["name"] = options.get("name", "")
    if kind.hook == "banger_vmm_drivers":
        formats: Any = getattr(declaration, "disk_formats", ("raw",))
        members |= {"driver": declaration.name, "disk_format": formats[0]}
        # Golden files lie beside the tests of the plugin, not in what is installed
        members["test_launch_is_the_golden_one"] = None
    return members


def _as_it_is(target: Any) -> Any:
    return staticmethod(target) if callable(target) else target


def _settings(registry: Registry, name: str) -> Mapping[str, Any]:
    """Return the settings that an implementation has here."""
    # What is wrong with settings is for their own suite to say
    with suppress(BangerError):
        return load_settings(Paths.from_environment(), registry).plugin(name)
    return {}


def _context(settings: Mapping[str, Any]) -> Any:
    """Give implementations their settings, and directories of the check's."""

    @pytest.fixture
    def cx(_self: object, banger_paths: Paths) -> Any:
        from banger_core.testing.context import FakeContext

        context = FakeContext(banger_paths.state / "context", settings)
        yield context
        context.close()

    return cx
