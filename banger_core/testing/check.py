"""``banger plugin check``: an installed plugin's weight, and its contracts' suites.

    python -m banger_core.testing.check [--host] [--with NAME=VALUE]… PLUGIN

Writes the findings as JSON to stdout. What a suite asks for beside the implementation (``ref`` and
``missing`` of an image source, ``name`` of a kernel provider) comes with ``--with``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from banger_core.config.paths import Paths
from banger_core.errors import BangerError, Conflict, HostNotReady, NotFound, PluginError
from banger_core.jsonable import to_json
from banger_core.model import Finding
from banger_core.plugins.index import Index, load_index
from banger_core.plugins.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from banger_core.plugins.record import PluginRecord

PROBE = """\
import json, sys, time
from banger_core.api import hookimpl
before, began = set(sys.modules), time.process_time()
__import__(sys.argv[1])
spent = time.process_time() - began
print(json.dumps({"ms": spent * 1000, "modules": sorted(set(sys.modules) - before)}))
"""

_OURS = Path(__file__).parents[1]

LIGHT = 12
"""So many modules of Python's own may a plugin module import beside the API."""


def weigh(plugin: PluginRecord) -> Finding:
    """Say what importing the plugin module costs: every command pays that when plugins change."""
    command = [sys.executable, "-c", PROBE, plugin.module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return _finding("fail", plugin.name, f"{plugin.module} cannot be imported", said)
    cost = json.loads(done.stdout.splitlines()[-1])
    own = plugin.module.partition(".")[0]
    ours = (own, "banger_core")
    others = [name for name in cost["modules"] if name.partition(".")[0] not in ours]
    strange = sorted({name.partition(".")[0] for name in others} - sys.stdlib_module_names)
    said = f"importing {plugin.module}: {len(others)} modules beside the API, {cost['ms']:.1f} ms"
    if strange or len(others) > LIGHT:
        why = f"it imports {', '.join(strange)}" if strange else f"more than {LIGHT} modules"
        fix = f"{plugin.module} only declares: import what does the work in the module behind load"
        return _finding("fail", plugin.name, said, why, fix)
    return _finding("pass", plugin.name, said)


def check(name: str, options: dict[str, str], *, host: bool) -> list[Finding]:
    """Return what is to be said about the plugin ``name``. Raises NotFound, PluginError when it
    cannot be used at all, HostNotReady without pytest.
    """
    index = load_index(Paths.from_environment())
    plugin = next((one for one in index.plugins if one.name == name), None)
    if plugin is None:
        known = [one.name for one in index.plugins]
        raise NotFound("plugin", name, known, hints=["banger plugin list"])
    if plugin.status != "ok":
        story = (plugin.name, plugin.distribution, plugin.version, "discovery", plugin.error)
        raise PluginError(*story, hints=[f"banger plugin show {plugin.name}"])
    if find_spec("pytest") is None:
        from banger_core.plugins.installer import install_words

        raise HostNotReady(
            "the suites cannot be run",
            cause="pytest is not installed beside banger",
            hints=[" ".join(install_words(["pytest"]))],
        )
    return [weigh(plugin), *_suites(index, plugin, options, host=host)]


def _suites(
    index: Index, plugin: PluginRecord, options: dict[str, str], *, host: bool
) -> Iterator[Finding]:
    from banger_core.testing.suites import suite_of

    registry = Registry(Index((plugin,)))
    every = Registry(index)
    for catalogue in registry.catalogues():
        for offer in catalogue.offers():
            subject = f"{catalogue.kind.noun} {offer.declaration.name}"
            try:
                suite = suite_of(every, catalogue.kind, offer.declaration, options)
            except BangerError as problem:
                fix = problem.tries[0] if isinstance(problem, Conflict) else ""
                yield _finding("fail", subject, problem.summary, problem.cause, fix)
                continue
            again = f"banger plugin check {plugin.name}"
            if isinstance(suite, str):
                fix = f"{again} {suite}"
                yield _finding("warn", subject, "not run", "the suite needs an example", fix)
                continue
            yield from _run(subject, suite, again, host=host)


def _run(subject: str, suite: type, again: str, *, host: bool) -> Iterator[Finding]:
    """Run one suite in a pytest of its own making, far from anybody's configuration."""
    import pytest

    results = _Results()
    with tempfile.TemporaryDirectory(prefix="bgr-check-") as place:
        file = Path(place) / "test_check.py"
        file.write_text("from banger_core.testing import suites\n\nTestContract = suites.CHOSEN\n")
        ini = Path(place) / "pytest.ini"
        ini.write_text("[pytest]\n")
        from banger_core.testing import suites

        suites.CHOSEN = suite
        words = [str(file), "-c", str(ini), "--rootdir", place, "-q", "-p", "no:cacheprovider"]
        # Modules of an earlier suite would be taken for this one's
        words += ["--import-mode=importlib", "-p", "no:randomly"]
        words += [] if host else ["-m", "not changes_host"]
        with contextlib.redirect_stdout(sys.stderr):
            status = pytest.main(words, plugins=[results])
        sys.modules.pop("test_check", None)
    name = suite.__mro__[1].__name__
    for test, why in results.failed:
        yield _finding("fail", subject, test, why)
    for what, options in dict.fromkeys(results.untold):
        fix = f"{again} {options}" if options else f"run {name} in the plugin's own tests"
        yield _finding("warn", subject, f"{name} is not whole", what, fix)
    if status == pytest.ExitCode.OK:
        yield _finding("pass", subject, f"{name}: {results.said()}")
    elif not results.failed:
        yield _finding("fail", subject, f"{name} could not be run", f"pytest ended with {status}")


class _Results:
    """A plugin of pytest's that keeps what came out."""

    def __init__(self) -> None:
        self.passed = self.left_out = 0
        self.failed: list[tuple[str, str]] = []
        self.untold: list[tuple[str, str]] = []

    def said(self) -> str:
        """Say how many tests passed, and how many were not run."""
        passed = "1 test passes" if self.passed == 1 else f"{self.passed} tests pass"
        left_out = f"; with --host {self.left_out} more, which change this host for a moment"
        return passed + left_out * bool(self.left_out)

    def pytest_deselected(self, items: list[Any]) -> None:
        """Count what was not run: without ``--host``."""
        self.left_out += len(items)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count what passed, keep what failed and why."""
        if report.failed:
            test = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
            crash = getattr(report.longrepr, "reprcrash", None)
            said = crash.message if crash else str(report.longrepr)
            if crash and not Path(crash.path).is_relative_to(_OURS):
                # It was not a suite that complained: this is where the plugin's code broke
                said += f" ({Path(crash.path).name}, line {crash.lineno})"
            self.failed.append((test, " ".join(said.removeprefix("Failed: ").split())[:500]))
        elif hasattr(report, "wasxfail"):
            what, _, options = report.wasxfail.removeprefix("reason: ").partition("\n")
            self.untold.append((what, options))
        elif report.when == "call" and report.passed:
            self.passed += 1


def _finding(level: Any, subject: str, message: str, why: str = "", fix: str = "") -> Finding:
    return Finding(level=level, subject=subject, message=message, why=why, fix=fix)


def main() -> int:
    """Check the plugin that the command line names."""
    parser = argparse.ArgumentParser(prog="banger plugin check")
    parser.add_argument("--host", action="store_true")
    parser.add_argument("--with", action="append", default=[], dest="options")
    parser.add_argument("plugin")
    given = parser.parse_args()
    options = dict(option.partition("=")[::2] for option in given.options)
    try:
        findings = check(given.plugin, options, host=given.host)
    except BangerError as problem:
        sys.stdout.write(json.dumps(problem.to_dict()) + "\n")
        return int(problem.exit_code)
    sys.stdout.write(json.dumps({"findings": [to_json(finding) for finding in findings]}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
