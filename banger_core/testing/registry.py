"""A registry of nothing but what a test names."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from banger_core.plugins.index import Index
from banger_core.plugins.manager import new_manager
from banger_core.plugins.record import PluginRecord
from banger_core.plugins.registry import Registry
from banger_core.plugins.scan import examine


def registry_of(*plugins: object) -> Registry:
    """Return a registry of these plugins, in this order; nothing that is installed gets in.

    Each is a module, the dotted name of one, or any object with hook functions. A broken one is
    recorded, as in real life: look at ``registry.plugins()``.
    """
    manager = new_manager()
    records = []
    for plugin in plugins:
        found = import_module(plugin) if isinstance(plugin, str) else plugin
        record = PluginRecord(
            name=_name(found), distribution="under-test", version="0", module=_module(found)
        )
        records.append(examine(manager, record, found)[0])
    return Registry(Index(tuple(records)))


def _name(plugin: object) -> str:
    name = plugin.__name__ if isinstance(plugin, ModuleType | type) else type(plugin).__name__
    package, _, last = name.rpartition(".")
    # Plugins keep their declarations in ``banger_x.plugin``: the package is what tells them apart
    return package.rpartition(".")[2] if last == "plugin" and package else last


def _module(plugin: object) -> str:
    return plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
