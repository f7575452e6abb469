"""A real responder over a context of the test's own."""

from __future__ import annotations

import pytest
from dns_house import House, free_port

from banger_core.testing.context import FakeContext


@pytest.fixture
def house(fake_context: FakeContext) -> House:
    """A context with a port of its own; nothing runs."""
    fake_context._settings["port"] = free_port()
    return House(fake_context)


@pytest.fixture
def serving(house: House) -> House:
    """The same with a responder that listens."""
    house.tend()
    assert house.ask("status")["responder"]["pid"]
    return house
