"""The section ``[plugins.oci]`` keeps the contract of settings."""

from __future__ import annotations

from banger_core.testing.contracts import SettingsContract
from banger_oci.settings import OciSettings


class TestSettings(SettingsContract):
    make = OciSettings
