"""The suites of what this plugin declares; the driver's as far as this host can run guests."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from firecracker_parts import firecracker_binary, tap_is_up

from banger_core.testing.contracts import (
    DoctorCheckContract,
    SettingsContract,
    VmmDriverContract,
    tiny_guest,
)
from banger_core.testing.tiny_kernel import GREETING, tiny_kernel
from banger_firecracker.doctor import FirecrackerCheck
from banger_firecracker.driver import FirecrackerDriver
from banger_firecracker.settings import FirecrackerSettings

_PATIENCE = 10.0
"""Seconds within which a guest that is of any use has said something."""


class TestFirecrackerDriver(VmmDriverContract):
    make = FirecrackerDriver
    driver = "firecracker"
    accel = "kvm"
    golden = Path(__file__).with_name("firecracker_launch.json")
    boots = True
    forks = True

    @pytest.fixture
    def cx(self, cx):
        return cx

    def plan(self):
        # All of it is written, and made durable
        return replace(super().plan(), memory=64 << 20)

    def limit(self):
        return kvm_limit()

    def dirs(self, paths):
        return tiny_guest(paths)

    def cut_off(self, machine, plan):
        return not tap_is_up(machine)


class TestFirecrackerCheck(DoctorCheckContract):
    make = FirecrackerCheck


class TestFirecrackerSettings(SettingsContract):
    make = FirecrackerSettings
    valid = {"jail": {"uid": 1234, "gid": 1234}}  # noqa: RUF012


@cache
def kvm_limit():
    """Why no guest runs here, found out by trying; empty when one does."""
    with tempfile.TemporaryDirectory() as place:
        kernel, config = Path(place, "vmlinux"), Path(place, "config.json")
        kernel.write_bytes(tiny_kernel())
        config.write_text(
            '{"machine-config": {"vcpu_count": 1, "mem_size_mib": 128}, "drives": [],'
            f'"boot-source": {{"kernel_image_path": "{kernel}"}}}}'
        )
        argv = [str(firecracker_binary()), "--no-api", "--config-file", str(config)]
        vmm = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        clock = threading.Timer(_PATIENCE, vmm.kill)
        clock.start()
        try:
            greeted = any(GREETING.split()[0] in line for line in vmm.stdout)
        finally:
            clock.cancel()
            vmm.kill()
            vmm.communicate()
    return "" if greeted else "KVM takes a guest and does not run it"
