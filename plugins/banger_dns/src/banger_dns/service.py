"""The half of ``banger dns`` that works beside the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from banger_core.api import Context, NotFound
from banger_dns.book import ZONE, Book


class DnsService:
    """The service ``dns``."""

    async def tend(self, cx: Context) -> None:
        """Take out names whose VM ended while nobody looked."""
        await Book(cx.state_dir).strike_dead()

    async def answer(self, question: str, data: Mapping[str, Any], cx: Context) -> Any:  # noqa: ARG002
        """Answer ``list``: the names and what they stand for."""
        if question != "list":
            raise NotFound("question", question, ["list"])
        return {
            "names": [
                {"name": f"{each.name}.{ZONE}", "vm_id": each.vm_id, "addresses": [*each.addresses]}
                for each in Book(cx.state_dir).read()
                if each.is_live
            ]
        }
