"""What this plugin declares."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.api import DoctorCheck, Settings, VmmDriver, hookimpl

BANGER_API = 1


@hookimpl
def banger_vmm_drivers() -> Iterable[VmmDriver]:
    """Yield the driver."""
    yield VmmDriver(
        name="firecracker",
        summary="Firecracker, where hardware virtualisation (KVM) works",
        load="banger_firecracker.driver:FirecrackerDriver",
        requires=("dev:/dev/kvm",),
        disk_formats=("raw",),
        networks=("user", "none", "tap"),
        features=("pause", "snapshot", "fork"),
    )


@hookimpl
def banger_doctor_checks() -> Iterable[DoctorCheck]:
    """Yield the check of Firecracker, of its version and of what its network needs."""
    yield DoctorCheck(
        name="firecracker",
        summary="Firecracker, its version and its network",
        load="banger_firecracker.doctor:FirecrackerCheck",
    )


@hookimpl
def banger_settings() -> Iterable[Settings]:
    """Yield the settings section."""
    yield Settings(
        name="firecracker",
        summary="How Firecracker is run",
        load="banger_firecracker.settings:FirecrackerSettings",
    )
