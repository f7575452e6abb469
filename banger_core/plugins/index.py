"""The plugin index: what is installed, from a cache that is read in a millisecond.

A warm read imports neither pluggy, nor importlib.metadata, nor any plugin. The cache is used as
long as nothing that decides its content has changed: the interpreter, banger's version, the
metadata of installed distributions on ``sys.path``, and the files of the plugin modules.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from banger_core import __version__
from banger_core.config.file import disabled_plugins, read_config
from banger_core.config.paths import secure_dir
from banger_core.errors import HostNotReady
from banger_core.plugins.record import PluginRecord, Stamp, stamp
from banger_core.plugins.selection import Selection
from banger_core.plugins.trace import wants_fresh

if TYPE_CHECKING:
    from banger_core.config.paths import Paths

_FORMAT = 2
_DECLARE = str(Path(__file__).parent.parent / "declare.py")


@dataclass(frozen=True, slots=True)
class Index:
    """All plugins under the user's selection, in the order of distribution and entry point.

    ``missing`` are names in ``BANGER_PLUGINS`` that are not installed.
    """

    plugins: tuple[PluginRecord, ...]
    missing: tuple[str, ...] = ()

    def usable(self) -> list[PluginRecord]:
        """Return the plugins whose declarations count."""
        return [plugin for plugin in self.plugins if plugin.status == "ok"]


@dataclass(frozen=True, slots=True)
class _Cache:
    environment: list[Any]
    config: Stamp
    disabled: list[str]
    watched: dict[str, Stamp]
    plugins: tuple[PluginRecord, ...]


def load_index(paths: Paths, *, no_plugins: bool = False, refresh: bool = False) -> Index:
    """Return the index, from the cache where it is still true.

    ``no_plugins`` leaves only the core's own plugins, ``refresh`` ignores the cache. A cache that
    cannot be written is no error. Raises UsageProblem when the configuration, which may disable
    plugins, cannot be read.
    """
    # Hooks are called only when the index is built anew: no trace comes out of a cache
    refresh = refresh or wants_fresh()
    environment, config = _environment(), stamp(os.fspath(paths.settings_file))
    old = None if refresh else _true_cache(paths.plugin_index, environment)
    if old and old.config == config:
        disabled = old.disabled
    else:
        disabled = disabled_plugins(paths.settings_file, read_config(paths.settings_file))
    selection = Selection.from_environment(disabled, no_plugins=no_plugins)
    if old and old.config == config and not _unseen(old.plugins, selection):
        return select(old.plugins, selection)
    from banger_core.plugins.scan import scan

    found = scan(selection, old.plugins if old else ())
    cache = _Cache(environment, config, disabled, found.watched, found.plugins)
    _write(paths.plugin_index, cache)
    return select(cache.plugins, selection)


def select(plugins: Iterable[PluginRecord], selection: Selection) -> Index:
    """Apply the user's selection; plugins that then still share a name are broken, all of them."""
    chosen = []
    for plugin in plugins:
        reason = selection.reason(plugin.name, plugin.distribution)
        blocked = replace(plugin, status="disabled", error=reason, declarations={})
        chosen.append(blocked if reason else plugin)
    owners: dict[str, list[PluginRecord]] = {}
    for plugin in chosen:
        if plugin.status != "disabled":
            owners.setdefault(plugin.name, []).append(plugin)
    names = [name for plugin in chosen for name in (plugin.name, plugin.distribution)]
    return Index(
        tuple(_named_alone(plugin, owners.get(plugin.name, [])) for plugin in chosen),
        selection.unknown(names),
    )


def _named_alone(plugin: PluginRecord, same: list[PluginRecord]) -> PluginRecord:
    if len(same) < 2 or plugin.status == "disabled":
        return plugin
    labels = " and ".join(other.label for other in same)
    error = f"plugins share this name: {labels}; disable one by its distribution"
    return replace(plugin, status="broken", error=error, declarations={})


def _unseen(plugins: Iterable[PluginRecord], selection: Selection) -> bool:
    return any(
        not plugin.scanned and not selection.reason(plugin.name, plugin.distribution)
        for plugin in plugins
    )


def _environment() -> list[Any]:
    """Return what discovery depends on apart from the plugins' own files."""
    seen = [(str(Path(place).absolute()), _distributions(place or os.curdir)) for place in sys.path]
    # A place without distributions (a program's own directory, say) plays no part
    places = [[place, distributions] for place, distributions in seen if distributions]
    return [_FORMAT, __version__, stamp(_DECLARE), list(sys.version_info[:3]), sys.prefix, places]


def _distributions(place: str) -> list[list[Any]]:
    try:
        with os.scandir(place) as entries:
            names = sorted(
                entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info"))
            )
    except OSError:
        return []
    return [[name, *stamp(f"{place}/{name}/entry_points.txt")] for name in names]


def _true_cache(file: Path, environment: list[Any]) -> _Cache | None:
    cache = _read(file)
    if cache is None or cache.environment != environment:
        return None
    unchanged = all(stamp(name) == seen for name, seen in cache.watched.items())
    return cache if unchanged else None


def _read(file: Path) -> _Cache | None:
    """Return the cache, or None when it is not there, not ours alone, or not what we write."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as stream:
            facts = os.fstat(stream.fileno())
            # What stands here decides which modules are imported
            if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
                return None
            data = json.load(stream)
        plugins = tuple(PluginRecord(**record) for record in data.pop("plugins"))
        return _Cache(plugins=plugins, **data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(file: Path, cache: _Cache) -> None:
    from banger_core.store.content import write_atomic

    data = {
        "environment": cache.environment,
        "config": cache.config,
        "disabled": cache.disabled,
        "watched": cache.watched,
        "plugins": [plugin.to_dict() for plugin in cache.plugins],
    }
    try:
        secure_dir(file.parent)
        write_atomic(file, json.dumps(data))
    except (OSError, HostNotReady):
        # The next command looks again; that is slower, not wrong
        return
