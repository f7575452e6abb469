"""The section ``[plugins.dns]`` keeps the contract of settings."""

from __future__ import annotations

from banger_core.testing.contracts import SettingsContract
from banger_dns.settings import DnsSettings


class TestSettings(SettingsContract):
    make = DnsSettings
