"""What this plugin declares."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.api import DoctorCheck, Settings, VmmDriver, hookimpl

BANGER_API = 1


@hookimpl
def banger_vmm_drivers() -> Iterable[VmmDriver]:
    """Yield the driver."""
    yield VmmDriver(
        name="qemu",
        summary="QEMU microvm, with KVM where it works and software emulation elsewhere",
        load="banger_qemu.driver:QemuDriver",
        requires=("bin:qemu-system-x86_64",),
        disk_formats=("qcow2", "raw"),
        networks=("user", "none", "tap"),
        features=("pause", "snapshot", "fork"),
    )


@hookimpl
def banger_doctor_checks() -> Iterable[DoctorCheck]:
    """Yield the check of QEMU and of hardware virtualisation."""
    yield DoctorCheck(
        name="qemu",
        summary="QEMU and hardware virtualisation",
        load="banger_qemu.doctor:QemuCheck",
    )


@hookimpl
def banger_settings() -> Iterable[Settings]:
    """Yield the settings section."""
    yield Settings(
        name="qemu",
        summary="How QEMU is run",
        load="banger_qemu.settings:QemuSettings",
    )
