"""``banger dns`` and the section ``[plugins.dns]`` keep their contracts."""

from __future__ import annotations

from banger_core.testing.contracts import CommandContract, SettingsContract
from banger_dns.commands import dns
from banger_dns.settings import DnsSettings


class TestCommand(CommandContract):
    make = dns
    name = "dns"


class TestSettings(SettingsContract):
    make = DnsSettings
