"""``banger dns`` keeps the contract of commands."""

from __future__ import annotations

from banger_core.testing.contracts import CommandContract
from banger_dns.commands import dns


class TestCommand(CommandContract):
    make = dns
    name = "dns"
