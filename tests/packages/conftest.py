"""Everything built once, and environments that end with their test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from package_environments import PACKAGES, Built, Environment, build

from banger_core.testing import leaks


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """Every package, by the name of its directory; the core is ``banger_core``."""
    place = tmp_path_factory.mktemp("built")
    every = [build(package, place) for package in PACKAGES]
    return {each.name: each for each in every}


@pytest.fixture
def fresh() -> Iterator[Callable[..., Environment]]:
    """A function that makes an empty environment, in a short place, because sockets lie below."""
    homes: list[Path] = []

    def make(*, pip: bool = False) -> Environment:
        homes.append(Path(tempfile.mkdtemp(prefix="bpk-")))
        return Environment(homes[-1], pip=pip)

    yield make
    for home in homes:
        left = leaks.end(leaks.processes_using(home))
        shutil.rmtree(home)
        assert not left, f"left behind: {left}"
