"""The plugin as the core sees it."""

from __future__ import annotations

from banger_core.testing.contracts import NetworkAttachmentContract, ServiceContract
from banger_dns.attachment import Names
from banger_dns.book import Book
from banger_dns.service import DnsService


def test_declarations_are_used_as_they_are(fresh_registry):
    registry = fresh_registry("banger_dns.plugin")
    (plugin,) = registry.plugins()
    assert plugin.status == "ok", plugin.error
    assert registry.network_attachments.names() == ["dns"]
    assert registry.services.load("dns")
    assert registry.commands.load("dns").members.keys() >= {"list"}


class TestNames(NetworkAttachmentContract):
    make = Names

    def traces(self, cx):
        return [name.to_json() for name in Book(cx.state_dir).read()]


class TestDnsService(ServiceContract):
    make = DnsService
    questions = ("list",)
