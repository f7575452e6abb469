"""The suite for services."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from banger_core.errors import NotFound
from banger_core.testing.contracts.base import Contract

if TYPE_CHECKING:
    from banger_core.testing.context import FakeContext


class ServiceContract(Contract):
    """Set ``make`` and ``questions``: those that are answered without data. What ``tend`` starts
    on the host may be in the way of one that runs there: ``banger plugin check`` asks with
    ``--host`` only.
    """

    contract: ClassVar[str] = "Service"
    questions: ClassVar[tuple[str, ...]] = ()

    @pytest.mark.changes_host
    def test_tending_is_idempotent(self, subject: Any, cx: FakeContext) -> None:
        async def twice() -> tuple[int, int]:
            await subject.tend(cx)
            once = len(cx.spawned)
            await subject.tend(cx)
            return once, len(cx.spawned)

        once, again = asyncio.run(twice())
        self.asks(once == again, "tending again starts nothing anew")

    @pytest.mark.changes_host
    def test_another_instance_finds_what_runs(self, subject: Any, cx: FakeContext) -> None:
        async def restarted() -> tuple[int, int]:
            await subject.tend(cx)
            before = len(cx.spawned)
            await type(self).make().tend(cx)
            return before, len(cx.spawned)

        before, after = asyncio.run(restarted())
        self.asks(before == after, "the service of the next daemon finds what runs already")

    @pytest.mark.changes_host
    def test_answers_are_json(self, subject: Any, cx: FakeContext) -> None:
        async def answers() -> list[Any]:
            await subject.tend(cx)
            return [await subject.answer(question, {}, cx) for question in self.questions]

        for question, answer in zip(self.questions, asyncio.run(answers()), strict=True):
            try:
                same = json.loads(json.dumps(answer)) == answer
            except (TypeError, ValueError):
                same = False
            self.asks(same, f"the answer to {question} can be said in JSON, not {answer!r}")

    def test_unknown_question_is_refused(self, subject: Any, cx: FakeContext) -> None:
        asked = subject.answer("no-such-question", {}, cx)
        asyncio.run(self.refuses(NotFound, asked, "a question that is none of its own"))
