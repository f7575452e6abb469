"""A context of a test's own, and the plugin at work in it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from banger_core.testing.context import FakeContext
from banger_dns.book import Book, Name
from banger_dns.orders import Said, nudge
from banger_dns.ports import obstacle
from banger_dns.service import DnsService


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody has, below those that the kernel gives away by itself."""
    while True:
        port = random.randrange(20000, 32000)
        if obstacle(address, port) is None:
            return port


def name(label: str, *addresses: str, **more: Any) -> Name:
    return Name(name=label, vm_id=f"id-{label}", addresses=addresses, **more)


@dataclass
class House:
    """A context, and the service in it."""

    cx: FakeContext
    service: DnsService = field(default_factory=DnsService)

    @property
    def address(self) -> str:
        return str(self.cx.settings.get("address", "127.0.0.1"))

    @property
    def port(self) -> int:
        return int(self.cx.settings["port"])

    @property
    def said(self) -> Said | None:
        return Said.read(self.cx.state_dir)

    def tend(self) -> None:
        asyncio.run(self.service.tend(self.cx))

    def ask(self, question: str) -> Any:
        return asyncio.run(self.service.answer(question, {}, self.cx))

    def enter(self, *names: Name) -> None:
        """Publish names as the attachment does."""
        for each in names:
            asyncio.run(Book(self.cx.state_dir).enter(each))
        nudge(self.cx.state_dir)

    def strike(self, vm_id: str) -> None:
        asyncio.run(Book(self.cx.state_dir).strike(vm_id))
        nudge(self.cx.state_dir)
