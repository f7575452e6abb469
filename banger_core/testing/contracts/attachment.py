"""The suite for network attachments."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from banger_core.testing.contracts.base import Contract
from banger_core.testing.contracts.samples import sample_record

if TYPE_CHECKING:
    from banger_core.testing.context import FakeContext


class NetworkAttachmentContract(Contract):
    """Set ``make``. When the attachment publishes elsewhere than in the directories of its
    context, override ``traces``: whatever shows what is published, and compares equal when it is
    the same (a file's content, a list of rules). ``banger plugin check`` attaches with ``--host``
    only.
    """

    contract: ClassVar[str] = "NetworkAttachment"

    def traces(self, cx: FakeContext) -> object:
        """What is published now: every file in the context's directories."""
        places = (cx.state_dir, cx.cache_dir, cx.ssh_dir)
        return {
            f"{place.name}/{file.relative_to(place)}": file.read_bytes()
            for place in places
            for file in place.rglob("*")
            if file.is_file()
        }

    def test_both_ways_are_asynchronous(self, subject: Any) -> None:
        for name in ("attach", "detach"):
            method = getattr(subject, name)
            self.asks(inspect.iscoroutinefunction(method), f"{name} is an async function")
            try:
                inspect.signature(method).bind(object(), object())
            except TypeError as problem:
                self.asks(False, f"{name} takes a VmRecord and a Context: {problem}")

    @pytest.mark.changes_host
    def test_attaching_is_idempotent(self, subject: Any, cx: FakeContext) -> None:
        async def twice() -> tuple[object, object, object]:
            before = self.traces(cx)
            await subject.attach(sample_record(), cx)
            once = self.traces(cx)
            await subject.attach(sample_record(), cx)
            return before, once, self.traces(cx)

        before, once, again = asyncio.run(twice())
        if before == once:
            self.cannot_tell("what attach publishes is not in its directories: override traces")
        self.asks(once == again, f"attaching again changes nothing: {once!r}, {again!r}")

    @pytest.mark.changes_host
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

    @pytest.mark.changes_host
    def test_detaching_works_without_attaching(self, subject: Any, cx: FakeContext) -> None:
        asyncio.run(subject.detach(sample_record(), cx))
