"""Fixtures for tests of banger and its plugins; pytest finds them when banger is installed.

Importing this module imports nothing of banger: it is loaded by the test runs of every project
that shares an environment with it. ``banger_leak_checks = true`` in the configuration of pytest
makes each test fail that leaves child processes or a changed environment behind, and gives the
programs that tests start the signals of one that was started by hand.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from banger_core.config.paths import Paths
    from banger_core.plugins.registry import Registry
    from banger_core.testing.clock import Clock
    from banger_core.testing.context import FakeContext
    from banger_core.testing.engine import FakeEngine
    from banger_core.testing.house import House

# Contract suites explain their assertions themselves; this adds the values
pytest.register_assert_rewrite("banger_core.testing.contracts")

_CHECKS = "banger_leak_checks"

CHANGES_HOST = "changes_host"
"""The mark of tests in contract suites that change the host (and undo it)."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that switches the leak checks on."""
    parser.addini(_CHECKS, "fail tests that leak processes or environment", "bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark of the contract suites means, and take back what a shell's ``&``, nohup
    and the like made this process ignore: programs inherit that, and a test that interrupts one
    would wait for ever.
    """
    config.addinivalue_line("markers", f"{CHANGES_HOST}: changes this host for a moment")
    if config.getini(_CHECKS):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
            if signal.getsignal(number) is signal.SIG_IGN:
                by_hand = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, by_hand)


@pytest.fixture(autouse=True)
def _banger_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.config.getini(_CHECKS):
        yield
        return
    from banger_core.testing import leaks

    environment, running = dict(os.environ), leaks.children()
    yield
    left = leaks.end(leaks.children() - running)
    changes = leaks.changed(environment)
    if left:
        pytest.fail(f"the test left processes behind: {'; '.join(left)}")
    if changes:
        pytest.fail(f"the test changed the environment: {', '.join(changes)}")


@pytest.fixture
def banger_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paths]:
    """Directories and an environment of the test's own; fails when a process of it survives."""
    from banger_core.testing import leaks
    from banger_core.testing.environment import isolated_paths

    with isolated_paths(tmp_path, monkeypatch) as paths:
        yield paths
        users = leaks.processes_using(paths.runtime) | leaks.processes_using(paths.state)
        if left := leaks.end(users):
            pytest.fail(f"the test left processes behind: {'; '.join(left)}")


@pytest.fixture
def fresh_registry() -> Callable[..., Registry]:
    """A function from plugins (modules, names of modules, objects) to a registry of only them."""
    from banger_core.testing.registry import registry_of

    return registry_of


@pytest.fixture
def fake_context(banger_paths: Paths) -> Iterator[FakeContext]:
    """A context over directories of the test's own; spawned processes end with the test."""
    from banger_core.testing.context import FakeContext

    context = FakeContext(banger_paths.state / "context")
    yield context
    context.close()


@pytest.fixture
def fake_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time that passes as usual, and jumps when it is told to."""
    from banger_core.testing.clock import Clock

    return Clock(monkeypatch)


@pytest.fixture
def fake_engine(banger_paths: Paths, fake_clock: Clock) -> Callable[..., FakeEngine]:
    """A function from plugins to an engine with them and the fakes, in directories of the test's
    own; its ``clock`` is ``fake_clock``.
    """
    from banger_core.testing.engine import FakeEngine

    def make(*plugins: object, config: str = "") -> FakeEngine:
        return FakeEngine(banger_paths, fake_clock, *plugins, config=config)

    return make


@pytest.fixture
def banger_daemon(banger_paths: Paths, tmp_path: Path) -> Iterator[Callable[..., House]]:
    """A function from names of plugin modules to a whole banger with them and the fakes: a real
    command line and a real daemon, which ends with the test.
    """
    from banger_core.testing.house import House

    made: list[House] = []

    def make(*modules: str, config: str = "") -> House:
        made.append(House(banger_paths, tmp_path / "site", modules, config))
        return made[-1]

    yield make
    for house in made:
        house.close()
