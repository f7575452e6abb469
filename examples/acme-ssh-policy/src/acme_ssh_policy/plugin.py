"""What this plugin declares."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.api import SshPolicy, hookimpl

BANGER_API = 1


@hookimpl
def banger_ssh_policies() -> Iterable[SshPolicy]:
    """Yield ACME's policy. Only the administrator can give it more weight than other plugins."""
    yield SshPolicy(
        name="acme-ssh-policy",
        summary="ACME's certificates and algorithms, no agent forwarding, an idle limit",
        load="acme_ssh_policy.policy:acme",
        precedence=950,
    )
