"""What this plugin declares."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.api import DoctorCheck, Network, Settings, hookimpl

BANGER_API = 1


@hookimpl
def banger_networks() -> Iterable[Network]:
    """Yield the network."""
    yield Network(
        name="bridge",
        summary="An address of its own on a bridge of this host, walled off from everything",
        load="banger_bridge.network:BridgeNetwork",
        requires=("bin:ip", "bin:nft", "dev:/dev/net/tun"),
    )


@hookimpl
def banger_doctor_checks() -> Iterable[DoctorCheck]:
    """Yield the check of rights, subnets, forwarding and other firewalls."""
    yield DoctorCheck(
        name="bridge",
        summary="Rights, subnets and firewalls for the network bridge",
        load="banger_bridge.doctor:BridgeCheck",
    )


@hookimpl
def banger_settings() -> Iterable[Settings]:
    """Yield the settings section."""
    yield Settings(
        name="bridge",
        summary="The bridge and its subnets",
        load="banger_bridge.settings:BridgeSettings",
    )
