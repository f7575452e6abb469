"""What the tests of feeds share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels_feeds import Served, Site, settings

from banger_core.testing.context import FakeContext
from banger_kernels import fetch


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server on this host; nobody waits long for it."""
    monkeypatch.setattr(fetch, "PAUSES", (0.01, 0.01))
    with Served() as site:
        yield site


@pytest.fixture
def feeds(tmp_path: Path) -> Callable[..., FakeContext]:
    """A function from the feed's place and key to a context in which it is configured."""

    def make(url: object, **key: Any) -> FakeContext:
        return FakeContext(tmp_path / "context", settings(str(url), **key))

    return make
