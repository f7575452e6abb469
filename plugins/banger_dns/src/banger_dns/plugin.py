"""What this plugin declares."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.api import (
    Command,
    DoctorCheck,
    NetworkAttachment,
    Service,
    Settings,
    hookimpl,
)

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
    """Serve the names, and say what they are."""
    yield Service(
        name="dns",
        summary="Serves the names of VMs",
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


@hookimpl
def banger_doctor_checks() -> Iterable[DoctorCheck]:
    """Look at the responder's port and at mapdns."""
    yield DoctorCheck(
        name="dns",
        summary="Names of VMs are served",
        load="banger_dns.doctor:DnsCheck",
    )


@hookimpl
def banger_settings() -> Iterable[Settings]:
    """``[plugins.dns]``."""
    yield Settings(
        name="dns",
        summary="Where names are served, and mapdns",
        load="banger_dns.settings:DnsSettings",
    )
