"""Services are tended alone, and say what is wrong once."""

from __future__ import annotations

import asyncio
import logging
import sys
import types
from types import SimpleNamespace

import pytest

from banger_core.api import Service, hookimpl
from banger_core.engine.services import Services, answer
from banger_core.errors import HostNotReady, NotFound, PluginError


@pytest.fixture
def engine(fresh_registry, monkeypatch):
    """Enough of an engine, and two services of which the first can fail."""
    code = types.ModuleType("services_code")
    monkeypatch.setitem(sys.modules, "services_code", code)
    tended = []

    def service(name):
        class Tended:
            problem: Exception | None = None

            async def tend(self, cx):
                tended.append((name, cx))
                if Tended.problem:
                    raise Tended.problem

            async def answer(self, question, data, cx):
                if question == "defect":
                    raise KeyError(question)
                return {"question": question, **data}

        return Tended

    code.First, code.Second = service("first"), service("second")

    class Plugin:
        BANGER_API = 1

        @staticmethod
        @hookimpl
        def banger_services():
            yield Service(name="first", summary="One", load="services_code:First")
            yield Service(name="second", summary="Two", load="services_code:Second")

    registry = fresh_registry(Plugin)
    context = lambda name: f"context of {name}"  # noqa: E731
    return SimpleNamespace(registry=registry, context=context, code=code, tended=tended)


def test_each_is_tended_with_its_own_context(engine):
    asyncio.run(Services(engine).tend())
    assert engine.tended == [("first", "context of first"), ("second", "context of second")]


@pytest.mark.parametrize("problem", [HostNotReady("no", cause="why"), OSError("odd")])
def test_failure_stays_alone_and_is_told_once(engine, caplog, problem):
    engine.code.First.problem = problem
    services = Services(engine)
    with caplog.at_level(logging.WARNING, "banger.engine"):
        for _ in range(3):
            asyncio.run(services.tend())
    told = [record.getMessage() for record in caplog.records if record.name == "banger.engine"]
    assert len(told) == 1
    assert told[0].startswith("service first: ")
    assert [name for name, _ in engine.tended].count("second") == 3


def test_failure_that_comes_back_is_told_again(engine, caplog):
    services = Services(engine)
    with caplog.at_level(logging.WARNING, "banger.engine"):
        for problem in (HostNotReady("a"), None, HostNotReady("a")):
            engine.code.First.problem = problem
            asyncio.run(services.tend())
    assert len(caplog.records) == 2


def test_answers(engine):
    assert asyncio.run(answer(engine, "second", "x", {"a": 1})) == {"question": "x", "a": 1}
    with pytest.raises(NotFound, match="no service named 'third'"):
        asyncio.run(answer(engine, "third", "x", {}))
    with pytest.raises(PluginError):
        asyncio.run(answer(engine, "first", "defect", {}))
