"""The SSH policy of a VM that is being planned: every layer there is, gathered and folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.contracts import SshFacts, SshPatch, SshPolicyLayer
from banger_core.errors import HostNotReady, PluginError
from banger_core.model import SshSetting, VmPlan, VmRequest
from banger_core.plan.ssh_admin import ADMIN_DIR, admin_layers, policy_files, trusted_policies
from banger_core.plan.ssh_policy import Authority, PolicyLayer, fold, patch_of

if TYPE_CHECKING:
    from banger_core.config.paths import Paths
    from banger_core.config.settings import Settings
    from banger_core.declare import SshPolicy
    from banger_core.plugins.registry import Loaded, Registry

Stamp = tuple[int, int, int]
"""Modification time in nanoseconds, size in bytes, inode."""

USER = "user configuration"
"""The origin of what ``[ssh]`` in the user's configuration says."""


def policy(registry: Registry, settings: Settings, vm: VmRequest | VmPlan) -> dict[str, SshSetting]:
    """Fold all layers for a VM, one that is being planned or one that there is.

    Raises what ``fold`` raises, PluginError for a plugin that misbehaves, and HostNotReady when
    the administrator's files cannot be trusted or name a policy that is not here: what somebody
    relies on must not vanish with a package.
    """
    trusted = trusted_policies()
    offered = registry.ssh_policies.all()
    if missing := trusted.difference(offer.declaration.name for offer in offered):
        raise HostNotReady(
            f"the SSH policy {', '.join(sorted(missing))} is required here and not installed",
            cause=f"trusted_policies of {ADMIN_DIR / 'config.toml'} names it",
            hints=["banger plugin list"],
        )
    patch = patch_of(settings.ssh.model_extra or {}, USER)
    return fold(
        [
            *(_layer(offer, settings, vm, trusted) for offer in offered),
            PolicyLayer(origin=USER, authority=Authority.USER, patch=patch),
            *_project(vm),
            *admin_layers(),
        ]
    )


def stamps(paths: Paths) -> dict[str, Stamp | None]:
    """Return what tells whether a file that has a say in policies has changed since."""
    return {str(path): _stamp(path) for path in (paths.settings_file, *policy_files())}


def overruled(ssh: Mapping[str, SshSetting]) -> Iterator[str]:
    """Yield a line for each of the user's own settings that a lock keeps from holding."""
    for name, setting in ssh.items():
        for origin, value in setting.ignored:
            if origin == USER and setting.locked_by:
                yield (
                    f"{name} = {value!r} of your configuration does not hold: "
                    f"{setting.locked_by} locks it at {setting.value!r}"
                )


def _stamp(path: Path) -> Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _project(vm: VmRequest | VmPlan) -> Iterator[PolicyLayer]:
    if vm.project is not None:
        origin = vm.project.path
        yield PolicyLayer(
            origin=origin, authority=Authority.PROJECT, patch=patch_of(vm.project.table, origin)
        )


def _layer(
    offer: Loaded[SshPolicy, SshPolicyLayer],
    settings: Settings,
    vm: VmRequest | VmPlan,
    trusted: frozenset[str],
) -> PolicyLayer:
    """Ask one plugin for its layer."""
    name, plugin = offer.declaration.name, offer.plugin
    facts = SshFacts(
        vm_name=vm.name or "",
        vm_id=vm.id if isinstance(vm, VmPlan) else "",
        labels=vm.labels,
        settings=settings.plugin(name),
    )
    patch: object = offer.implementation(facts)
    if not isinstance(patch, SshPatch):
        raise PluginError(
            plugin.name,
            plugin.distribution,
            plugin.version,
            f"the SSH policy {name}",
            f"it gave {type(patch).__name__}, not SshPatch",
        )
    return PolicyLayer(
        origin=f"{name} ({plugin.distribution})",
        authority=Authority.ADMIN if name in trusted else Authority.PLUGIN,
        patch=patch,
        precedence=offer.declaration.precedence,
    )
