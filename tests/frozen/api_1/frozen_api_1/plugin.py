"""Everything that the first plugin API can declare."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.api import (
    Command,
    DoctorCheck,
    EventSink,
    GuestRuntime,
    ImageSource,
    KernelProvider,
    Network,
    NetworkAttachment,
    Service,
    Settings,
    SshPolicy,
    VmmDriver,
    hookimpl,
)

BANGER_API = 1


@hookimpl
def banger_image_sources() -> Iterable[ImageSource]:
    """Yield one."""
    yield ImageSource(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.source:FrozenSource",
        schemes=("frozen",),
    )


@hookimpl
def banger_kernel_providers() -> Iterable[KernelProvider]:
    """Yield one."""
    yield KernelProvider(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.kernels:FrozenKernels",
    )


@hookimpl
def banger_guest_runtimes() -> Iterable[GuestRuntime]:
    """Yield one."""
    yield GuestRuntime(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.runtime:FrozenRuntime",
    )


@hookimpl
def banger_networks() -> Iterable[Network]:
    """Yield one."""
    yield Network(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.network:FrozenNetwork",
    )


@hookimpl
def banger_vmm_drivers() -> Iterable[VmmDriver]:
    """Yield one."""
    yield VmmDriver(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.driver:FrozenDriver",
        requires=("bin:cloud-hypervisor", "dev:/dev/kvm"),
        disk_formats=("raw",),
        networks=("tap",),
        features=("pause",),
    )


@hookimpl
def banger_network_attachments() -> Iterable[NetworkAttachment]:
    """Yield one."""
    yield NetworkAttachment(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.attachment:FrozenRegister",
        after=("known-hosts",),
    )


@hookimpl
def banger_ssh_policies() -> Iterable[SshPolicy]:
    """Yield one."""
    yield SshPolicy(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.policy:policy",
        precedence=100,
    )


@hookimpl
def banger_event_sinks() -> Iterable[EventSink]:
    """Yield one."""
    yield EventSink(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.sink:FrozenSink",
        kinds=("vm.*",),
    )


@hookimpl
def banger_doctor_checks() -> Iterable[DoctorCheck]:
    """Yield one."""
    yield DoctorCheck(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.check:FrozenCheck",
    )


@hookimpl
def banger_commands() -> Iterable[Command]:
    """Yield one."""
    yield Command(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.commands:frozen",
    )


@hookimpl
def banger_services() -> Iterable[Service]:
    """Yield one."""
    yield Service(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.service:FrozenService",
    )


@hookimpl
def banger_settings() -> Iterable[Settings]:
    """Yield one."""
    yield Settings(
        name="frozen",
        summary="Never changed",
        load="frozen_api_1.settings:FrozenSettings",
    )
