"""Gives a VM its name while it runs."""

from __future__ import annotations

from banger_core.api import Context, VmRecord
from banger_dns.book import Book, Name
from banger_dns.publish import publish


class Names:
    """The network attachment ``dns``."""

    async def attach(self, vm: VmRecord, cx: Context) -> None:
        """Enter the VM."""
        await Book(cx.state_dir).enter(Name.of(vm))
        await publish(cx)

    async def detach(self, vm: VmRecord, cx: Context) -> None:
        """Take the VM out."""
        await Book(cx.state_dir).strike(vm.id)
        await publish(cx)
