"""The plugin ``user-network``: what every banger has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.api import Network, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

BANGER_API = 1


@hookimpl
def banger_networks() -> Iterable[Network]:
    """Declare the two networks."""
    yield Network(
        name="user",
        summary="A loopback address per VM, and the way out through the host's own connections",
        load="banger_core.networks.user:UserNetwork",
    )
    yield Network(
        name="none",
        summary="A loopback address per VM for SSH, and no way out",
        load="banger_core.networks.user:NoNetwork",
    )
