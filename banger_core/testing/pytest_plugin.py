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
    from banger_core.testing.context import FakeContext

# Contract suites explain their assertions themselves; this adds the values
pytest.register_assert_rewrite("banger_core.testing.contracts")

_CHECKS = "banger_leak_checks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that switches the leak checks on."""
    parser.addini(_CHECKS, "fail tests that leak processes or environment", "bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Take back what a shell's ``&``, nohup and the like made this process ignore: programs
    inherit that, and a test that interrupts one would wait for ever.
    """
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
