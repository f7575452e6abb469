from __future__ import annotations

from importlib import import_module

import pytest
from pydantic import ValidationError

from banger_qemu import plugin
from banger_qemu.settings import QemuSettings
from banger_qemu.tsc import host_tsc_khz


@pytest.mark.parametrize(
    "hook", [plugin.banger_vmm_drivers, plugin.banger_doctor_checks, plugin.banger_settings]
)
def test_what_is_declared_can_be_loaded(hook):
    for declared in hook():
        module, _, attribute = declared.load.partition(":")
        assert callable(getattr(import_module(module), attribute))


def test_a_trial_that_takes_too_long_cannot_be_configured():
    assert QemuSettings().probe_deadline <= 8
    with pytest.raises(ValidationError):
        QemuSettings(probe_deadline=30)
    with pytest.raises(ValidationError):
        QemuSettings(extra_args="-monitor stdio")


def test_the_counter_is_measured_once_and_plausible():
    khz = host_tsc_khz()
    assert khz is None or 200_000 < khz < 10_000_000
    assert host_tsc_khz() is khz
