"""The section ``[plugins.debian]`` keeps the contract of settings."""

from __future__ import annotations

from banger_core.testing.contracts import SettingsContract
from banger_debian.settings import DebianSettings


class TestSettings(SettingsContract):
    make = DebianSettings
