"""The slow half of discovery: import every plugin that may be used, and write down what it says.

Runs only when the index is out of date. Nothing that a plugin does here can stop the others.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import banger_core
from banger_core.deprecation import collecting
from banger_core.hookspecs import PROJECT
from banger_core.plugins.loading import told
from banger_core.plugins.manager import (
    IncompatiblePlugin,
    RejectedPlugin,
    collect,
    new_manager,
)
from banger_core.plugins.record import PluginRecord, Stamp, stamp
from banger_core.plugins.trace import traced

if TYPE_CHECKING:
    import pluggy

    from banger_core.plugins.selection import Selection

log = logging.getLogger(__name__)

_OWN = str(Path(banger_core.__file__).parent)


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found, and the files whose change makes it stale."""

    plugins: tuple[PluginRecord, ...]
    watched: dict[str, Stamp]


def scan(selection: Selection, known: Iterable[PluginRecord] = ()) -> Scan:
    """Look at every installed plugin, in the order of distribution and entry point.

    Blocked plugins are not imported; ``known`` are records from before that are still true, and
    stand in for them.
    """
    before = {(record.distribution, record.name): record for record in known if record.scanned}
    manager = new_manager()
    records: list[PluginRecord] = []
    watched: dict[str, Stamp] = {}
    for record in _installed():
        if selection.reason(record.name, record.distribution):
            unseen = replace(record, scanned=False)
            records.append(before.get((record.distribution, record.name), unseen))
        else:
            examined, files = examine(manager, record)
            records.append(examined)
            watched |= files
    return Scan(tuple(records), watched)


def examine(
    manager: pluggy.PluginManager, record: PluginRecord, plugin: object | None = None
) -> tuple[PluginRecord, dict[str, Stamp]]:
    """Import the plugin of ``record`` (unless it is given) and ask it; return the record that
    says what came out, and the files that decided it.
    """
    with collecting(record.name) as used:
        examined, files = _examine(manager, record, plugin)
    return replace(examined, deprecations=used), files


def _examine(
    manager: pluggy.PluginManager, record: PluginRecord, plugin: object | None
) -> tuple[PluginRecord, dict[str, Stamp]]:
    files: dict[str, Stamp] = {}
    subject = f"{record.distribution}:{record.name}"
    try:
        # What a plugin prints must not get into the output of the command that is running
        with contextlib.redirect_stdout(sys.stderr):
            if plugin is None:
                files |= _origin(record.module)
                with traced(f"{subject} import") as gave:
                    plugin = importlib.import_module(record.module)
                    gave.append(record.module)
            found = collect(manager, plugin, subject)
        return replace(record, declarations=found), files
    except IncompatiblePlugin as problem:
        return replace(record, status="incompatible", error=str(problem)), files
    except RejectedPlugin as problem:
        return replace(record, status="broken", error=str(problem)), files
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - the isolation of discovery
        return _broken(record, problem), files | _blamed(problem)


def _broken(record: PluginRecord, problem: BaseException) -> PluginRecord:
    story = "".join(traceback.format_exception(problem))
    return replace(record, status="broken", error=told(problem, record.module), traceback=story)


def _installed() -> list[PluginRecord]:
    """Return all entry points of our group, unexamined."""
    found: dict[tuple[str, str], PluginRecord] = {}
    for distribution in metadata.distributions():
        try:
            entries = distribution.entry_points.select(group=PROJECT)
            name, version = _normal(distribution.name), distribution.version
        except Exception:
            log.debug("unreadable metadata: %s", distribution, exc_info=True)
            continue
        for entry in entries:
            record = PluginRecord(
                name=entry.name, distribution=name, version=version, module=entry.value
            )
            # As with imports, what comes first on sys.path hides the rest
            found.setdefault((name, entry.name), record)
    return sorted(found.values(), key=lambda record: (record.distribution, record.name))


def _origin(module: str) -> dict[str, Stamp]:
    """Return the file of ``module`` without running it (but its packages are imported)."""
    if ":" in module:
        raise RejectedPlugin(f"its entry point names {module}, but must name a module")
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    return {spec.origin: stamp(spec.origin)} if spec.origin else {}


def _blamed(problem: BaseException) -> dict[str, Stamp]:
    """Return the files that ``problem`` went through: mending one of them may mend the plugin."""
    frames = traceback.extract_tb(problem.__traceback__)
    files = [frame.filename for frame in frames]
    if isinstance(problem, SyntaxError) and problem.filename:
        files.append(problem.filename)
    if isinstance(problem, ModuleNotFoundError) and problem.name:
        parent = sys.modules.get(problem.name.rpartition(".")[0])
        files += getattr(parent, "__path__", [])
    return {file: stamp(file) for file in files if not file.startswith(_OWN)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
