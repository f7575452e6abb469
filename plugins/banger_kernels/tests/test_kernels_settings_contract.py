"""The section ``[plugins.feeds]`` keeps the contract of settings."""

from __future__ import annotations

from banger_core.testing.contracts import SettingsContract
from banger_kernels.settings import FeedsSettings


class TestSettings(SettingsContract):
    make = FeedsSettings
