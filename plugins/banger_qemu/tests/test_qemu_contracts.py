"""The suites of what this plugin declares; the driver's with a guest that really runs."""

from __future__ import annotations

from pathlib import Path

from banger_core.testing.contracts import (
    DoctorCheckContract,
    SettingsContract,
    VmmDriverContract,
    tiny_guest,
)
from banger_qemu.doctor import QemuCheck
from banger_qemu.driver import QemuDriver
from banger_qemu.settings import QemuSettings


class TestDriver(VmmDriverContract):
    make = staticmethod(lambda: QemuDriver(tsc_khz=2_000_000))
    driver = "qemu"
    golden = Path(__file__).with_name("qemu_launch.json")
    boots = True
    forks = True

    def dirs(self, paths):
        return tiny_guest(paths)


class TestDoctor(DoctorCheckContract):
    make = QemuCheck


class TestSettings(SettingsContract):
    make = QemuSettings
    valid = {"probe_deadline": 5.0}  # noqa: RUF012
