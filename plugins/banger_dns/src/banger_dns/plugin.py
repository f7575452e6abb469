"""What this plugin declares."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.api import Command, NetworkAttachment, Service, hookimpl

BANGER_API = 1


@hookimpl
def banger_network_attachments() -> Iterable[NetworkAttachment]:
    """Give VMs names while they run."""
    yield NetworkAttachment(
        name="dns",
        summary="Publishes each VM as NAME.vm",
        load="banger_dns.attachment:Names",
    )


@hookimpl
def banger_services() -> Iterable[Service]:
    """Keep the names right, and say what they are."""
    yield Service(
        name="dns",
        summary="Keeps the names of VMs right",
        load="banger_dns.service:DnsService",
    )


@hookimpl
def banger_commands() -> Iterable[Command]:
    """``banger dns``."""
    yield Command(
        name="dns",
        summary="Names of machines, and how this host finds them",
        load="banger_dns.commands:dns",
    )
