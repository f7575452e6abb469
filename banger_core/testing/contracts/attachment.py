"""The suite for network attachments."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from banger_core.testing.contracts.base import Contract
from banger_core.testing.contracts.samples import sample_record

if TYPE_CHECKING:
    from banger_core.testing.context import FakeContext


class NetworkAttachmentContract(Contract):
    """Set ``make``, and override ``traces``: whatever shows what the attachment has published,
    and compares equal when it is the same (a file's content, a list of rules).
    """

    contract: ClassVar[str] = "NetworkAttachment"

    def traces(self, cx: FakeContext) -> object:
        """What is published now."""
        raise NotImplementedError("say what the attachment leaves behind")

    def test_attaching_is_idempotent(self, subject: Any, cx: FakeContext) -> None:
        async def twice() -> tuple[object, object, object]:
            before = self.traces(cx)
            await subject.attach(sample_record(), cx)
            once = self.traces(cx)
            await subject.attach(sample_record(), cx)
            return before, once, self.traces(cx)

        before, once, again = asyncio.run(twice())
        self.asks(before != once, "attach publishes something (or traces does not show it)")
        self.asks(once == again, f"attaching again changes nothing: {once!r}, {again!r}")

    def test_detaching_removes_every_trace(self, subject: Any, cx: FakeContext) -> None:
        async def come_and_go() -> tuple[object, object]:
            other = sample_record("other")
            await subject.attach(other, cx)
            await subject.detach(other, cx)
            before = self.traces(cx)
            await subject.attach(sample_record(), cx)
            await subject.detach(sample_record(), cx)
            await subject.detach(sample_record(), cx)
            return before, self.traces(cx)

        before, after = asyncio.run(come_and_go())
        self.asks(before == after, f"detach leaves nothing behind: {before!r}, {after!r}")

    def test_detaching_works_without_attaching(self, subject: Any, cx: FakeContext) -> None:
        asyncio.run(subject.detach(sample_record(), cx))
