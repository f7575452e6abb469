"""The suites of what this plugin declares. Real machines are booted in tests/system."""

from __future__ import annotations

from banger_core.testing.contracts import (
    DoctorCheckContract,
    SettingsContract,
    VmmDriverContract,
)
from banger_qemu.doctor import QemuCheck
from banger_qemu.driver import QemuDriver
from banger_qemu.settings import QemuSettings


class TestDriver(VmmDriverContract):
    make = staticmethod(lambda: QemuDriver(tsc_khz=1))
    driver = "qemu"
    disk_format = "qcow2"


class TestDoctor(DoctorCheckContract):
    make = QemuCheck


class TestSettings(SettingsContract):
    make = QemuSettings
    valid = {"probe_deadline": 5.0}  # noqa: RUF012
