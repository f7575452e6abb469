"""QEMU keeps the contract of VM drivers, with a guest that really runs."""

from __future__ import annotations

from pathlib import Path

from banger_core.testing.contracts import VmmDriverContract, tiny_guest
from banger_qemu.driver import QemuDriver


class TestQemuDriver(VmmDriverContract):
    make = lambda: QemuDriver(tsc_khz=2_000_000)  # noqa: E731 - a speed that is the same everywhere
    driver = "qemu"
    golden = Path(__file__).with_name("qemu_launch.json")
    boots = True

    def dirs(self, paths):
        return tiny_guest(paths)
