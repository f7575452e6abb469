"""What is wrong with the plugins that are installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from banger_core.model import Finding
from banger_core.plugins.index import Index
from banger_core.plugins.needs import missing_needs
from banger_core.plugins.record import CORE, PluginRecord
from banger_core.plugins.registry import Registry


def failed_plugins(plugins: Iterable[PluginRecord]) -> list[Finding]:
    """Say which plugins cannot be used although they should be."""
    return [
        Finding(
            level="fail",
            subject=f"plugin {plugin.name}",
            message=f"{plugin.distribution} {plugin.version} is {plugin.status}",
            why=plugin.error,
            fix=_ways_out(plugin),
        )
        for plugin in plugins
        if plugin.status in ("broken", "incompatible")
    ]


def _ways_out(plugin: PluginRecord) -> str:
    without = f"banger plugin disable {plugin.name}"
    if plugin.status == "broken":
        newer = f"banger plugin install --upgrade {plugin.distribution}"
        return f"banger plugin show {plugin.name} tells more; {newer}, or {without}"
    older = CORE if plugin.error.endswith(f"upgrade {CORE}") else plugin.distribution
    return f"banger plugin install --upgrade {older}, or {without}"


def old_ways(plugins: Iterable[PluginRecord]) -> list[Finding]:
    """Say which plugins use what will go."""
    return [
        Finding(
            level="warn",
            subject=f"plugin {plugin.name}",
            message=f"{plugin.distribution} {plugin.version} uses what will go",
            why="; ".join(plugin.deprecations),
            fix=f"banger plugin install --upgrade {plugin.distribution}",
        )
        for plugin in plugins
        if plugin.deprecations
    ]


def examine_plugins(index: Index, unusable: Iterable[Finding] = ()) -> list[Finding]:
    """Return everything that is to be said about the plugins; needs no daemon and changes nothing.
    ``unusable`` is what came out when they were tried.

    Raises ValueError when the declarations in ``index`` are of another version.
    """
    registry = Registry(index)
    found = [
        *failed_plugins(index.plugins),
        *_clashes(registry),
        *unusable,
        *_missing(index),
        *old_ways(index.plugins),
        *_needs(registry),
    ]
    return found or [
        Finding(
            level="pass",
            subject="plugins",
            message=f"all {len(index.usable())} plugins that are enabled can be used",
        )
    ]


def _clashes(registry: Registry) -> Iterator[Finding]:
    for clash in registry.clashes():
        yield Finding(
            level="fail",
            subject="names",
            message=clash.summary,
            why=clash.cause,
            fix=clash.hints[0] if clash.hints else "",
        )


def _missing(index: Index) -> Iterator[Finding]:
    for name in index.missing:
        yield Finding(
            level="warn",
            subject="BANGER_PLUGINS",
            message=f"there is no plugin {name}",
            why="BANGER_PLUGINS names it, so nothing else but what it names is used",
            fix=f"banger plugin install {name}, or take it out of BANGER_PLUGINS",
        )


def _needs(registry: Registry) -> list[Finding]:
    return missing_needs(offer.declaration for offer in registry.every_offer())
