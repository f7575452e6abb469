"""The SSH policy of a VM that is being planned: every layer there is, gathered and folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.contracts import SshFacts, SshPatch, SshPolicyLayer
from banger_core.errors import HostNotReady, PluginError
from banger_core.model import SshSetting, VmRequest
from banger_core.plan.ssh_admin import ADMIN_DIR, admin_layers, trusted_policies
from banger_core.plan.ssh_policy import Authority, PolicyLayer, fold, patch_of

if TYPE_CHECKING:
    from banger_core.config.settings import Settings
    from banger_core.declare import SshPolicy
    from banger_core.plugins.registry import Loaded, Registry

USER = "user configuration"
"""The origin of what ``[ssh]`` in the user's configuration says."""


def policy(registry: Registry, settings: Settings, request: VmRequest) -> dict[str, SshSetting]:
    """Fold all layers for a VM that is being planned.

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
            *(_layer(offer, settings, request, trusted) for offer in offered),
            PolicyLayer(origin=USER, authority=Authority.USER, patch=patch),
            *admin_layers(),
        ]
    )


def _layer(
    offer: Loaded[SshPolicy, SshPolicyLayer],
    settings: Settings,
    request: VmRequest,
    trusted: frozenset[str],
) -> PolicyLayer:
    """Ask one plugin for its layer."""
    name, plugin = offer.declaration.name, offer.plugin
    facts = SshFacts(
        vm_name=request.name or "",
        vm_id="",
        labels=request.labels,
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
