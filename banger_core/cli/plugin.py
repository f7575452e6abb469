"""``banger plugin``: what is installed beside the core. What it says needs no daemon."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banger_core.cli.group import Member, Noun, verb
from banger_core.cli.options import AsJson
from banger_core.config.paths import Paths
from banger_core.errors import BangerError, ExitCode, NotFound
from banger_core.jsonable import to_json
from banger_core.plugins.index import Index, load_index
from banger_core.plugins.kinds import BY_HOOK
from banger_core.ui.console import printable, tell
from banger_core.ui.human import plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_details, show_table

if TYPE_CHECKING:
    from banger_core.plugins.record import PluginRecord

plugin = Noun("plugin", "Plugins that are installed")

RESTART = "banger daemon stop (machines go on running)"


def complete_plugins(incomplete: str) -> list[str]:
    """Offer the names of plugins."""
    with suppress(BangerError):
        names = [record.name for record in load_index(Paths.from_environment()).plugins]
        return [name for name in names if name.startswith(incomplete)]
    return []


PluginName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A plugin, or the distribution that brings it.",
        show_default=False,
        autocompletion=complete_plugins,
    ),
]


@verb(plugin, "list", aliases=("ls",))
def list_plugins(as_json: AsJson = False) -> None:
    """List plugins, broken and disabled ones too."""
    index = load_index(Paths.from_environment())
    if as_json:
        show_json([record.to_dict() for record in index.plugins])
    else:
        head = ("name", "status", "distribution", "version", "declares", "note")
        show_table(head, [_row(record) for record in index.plugins])
    for name in index.missing:
        tell(f"BANGER_PLUGINS names {name}, which is not installed")
    _tell_difference(index)


@verb(plugin, "show")
def show(name: PluginName, as_json: AsJson = False) -> None:
    """Show one plugin and everything that it declares."""
    found = find_plugins(load_index(Paths.from_environment()), name)
    if as_json:
        show_json([record.to_dict() for record in found])
        return
    for record in found:
        show_details(_details(record))
        if record.traceback:
            sys.stdout.write("\n" + "\n".join(map(printable, record.traceback.splitlines())) + "\n")


@verb(plugin, "doctor")
def doctor(as_json: AsJson = False) -> int:
    """Say what is wrong with the plugins, and what of this host they lack.

    The exit status is 5 when something fails.
    """
    from banger_core.cli.findings import show_findings
    from banger_core.plugins.health import examine_plugins
    from banger_core.plugins.tryout import try_plugins

    paths, unusable = Paths.from_environment(), try_plugins()
    try:
        findings = examine_plugins(load_index(paths), unusable)
    except ValueError:
        findings = examine_plugins(load_index(paths, refresh=True), unusable)
    return show_findings(map(to_json, findings), as_json=as_json, failed=ExitCode.PLUGIN)


def find_plugins(index: Index, name: str) -> list[PluginRecord]:
    """Return the plugins of that name, or of the distribution of that name. Raises NotFound."""
    wanted = name.lower().replace("_", "-")
    named = [record for record in index.plugins if record.name == name]
    found = named or [record for record in index.plugins if record.distribution == wanted]
    if not found:
        known = [record.name for record in index.plugins]
        raise NotFound("plugin", name, known, hints=["banger plugin list"])
    return found


def _row(record: PluginRecord) -> tuple[str, ...]:
    declared = "; ".join(
        f"{_noun(hook)} {', '.join(item['name'] for item in items)}"
        for hook, items in record.declarations.items()
        if items
    )
    note = record.error or "; ".join(record.deprecations)
    return record.name, record.status, record.distribution, record.version, declared, note


def _noun(hook: str) -> str:
    return BY_HOOK[hook].noun if hook in BY_HOOK else hook


def _details(record: PluginRecord) -> dict[str, str | list[str]]:
    details: dict[str, str | list[str]] = {
        "name": record.name,
        "status": record.status,
        "distribution": f"{record.distribution} {record.version}",
        "module": record.module,
    }
    if record.error:
        details["note"] = record.error
    if record.deprecations:
        details["will go"] = list(record.deprecations)
    for hook, items in record.declarations.items():
        details[_noun(hook)] = [line for item in items for line in _declared(item)]
    return details


def _declared(item: dict[str, Any]) -> list[str]:
    common = ("name", "summary", "load")
    rest = {key: value for key, value in item.items() if key not in common and value}
    more = [f"  {key}: {plain(value)}" for key, value in {"load": item["load"], **rest}.items()]
    return [f"{item['name']}: {item['summary']}", *more]


def _tell_difference(index: Index) -> None:
    """Say so when the daemon that runs has other plugins: it keeps those it began with."""
    from banger_core.client.client import url
    from banger_core.client.spawn import running

    def fact(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(key) for key in ("name", "distribution", "version", "status"))

    with suppress(BangerError):
        if daemon := running(Paths.from_environment(), tell):
            theirs = {fact(row) for row in daemon[0].get(url("plugins"))["plugins"]}
            if theirs != {fact(record.to_dict()) for record in index.plugins}:
                tell(f"the daemon runs with other plugins; to have it use these: {RESTART}")


_CHANGE = "banger_core.cli.plugin_change"
plugin.members |= {
    "install": Member("Install plugins into banger's own environment", f"{_CHANGE}:install"),
    "uninstall": Member("Remove plugins from banger's own environment", f"{_CHANGE}:uninstall"),
    "enable": Member("Use a plugin again that was disabled", f"{_CHANGE}:enable"),
    "disable": Member("Leave a plugin installed, but do not use it", f"{_CHANGE}:disable"),
    "check": Member(
        "Test a plugin: its weight, and its contracts' suites", "banger_core.cli.plugin_check:check"
    ),
    "new": Member("Write a new plugin, tests and all", "banger_core.cli.plugin_new:new"),
}
