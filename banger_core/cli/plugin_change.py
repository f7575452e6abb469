"""``banger plugin install, uninstall, enable, disable``."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banger_core.cli.options import Quiet
from banger_core.cli.plugin import RESTART, PluginName, complete_plugins, find_plugins
from banger_core.config.paths import Paths
from banger_core.errors import BangerError, Conflict, PluginError, UsageProblem
from banger_core.plugins.index import load_index
from banger_core.ui.console import tell

if TYPE_CHECKING:
    from banger_core.plugins.index import Index
    from banger_core.plugins.record import PluginRecord

CORE = "banger"

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^]]*\])?\s*([<>=!~].*)?")
"""A package by its name, perhaps with extras and versions (PEP 508)."""

Force = Annotated[bool, typer.Option("--force", help="Also when machines use it.")]
Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME…",
        help="Plugins, or the distributions that bring them.",
        show_default=False,
        autocompletion=complete_plugins,
    ),
]


def install(
    packages: Annotated[
        list[str],
        typer.Argument(
            metavar="PACKAGE…",
            help="As for pip: banger-oci, 'banger-oci>=0.1', a directory, a wheel, a URL.",
            show_default=False,
        ),
    ],
    upgrade: Annotated[
        bool, typer.Option("--upgrade", "-U", help="Take newer versions of what is there.")
    ] = False,
    editable: Annotated[
        bool, typer.Option("--editable", "-e", help="Use a directory as it is: for authors.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Install plugins into banger's own environment, with pip or uv."""
    from banger_core.plugins.installer import check_environment, install_words

    if bad := [package for package in packages if package.startswith("-") or not package.strip()]:
        raise UsageProblem(
            f"{bad[0]!r} is no package",
            cause="options of pip are not taken; its environment variables (PIP_…) are",
            hints=["banger plugin install banger-oci"],
        )
    check_environment()
    options = [*(["--upgrade"] if upgrade else []), *(["--quiet"] if quiet else [])]
    named = [word for package in packages for word in (("-e", package) if editable else (package,))]
    before = _installed()
    _call(install_words(named, options), "the packages could not be installed")
    after = _installed()
    known = [_key(row) for row in before]
    new = [row for row in after if _key(row) not in known]
    for row in new:
        tell(f"plugin {row['name']} ({row['distribution']} {row['version']}): {row['status']}")
    brought = {"", *(row["distribution"] for row in after)}
    for name in map(distribution_of, packages):
        if name not in brought:
            tell(f"{name} brings no plugin: it has no entry point in the group {CORE!r}")
    if not new:
        tell("no plugin is new")
    else:
        _tell_daemon()
    for row in new:
        if row["status"] in ("broken", "incompatible"):
            raise PluginError(
                row["name"],
                row["distribution"],
                row["version"],
                "discovery",
                row["error"],
                hints=[
                    f"banger plugin show {row['name']}",
                    f"banger plugin uninstall {row['distribution']}",
                ],
            )


def uninstall(names: Names, force: Force = False) -> None:
    """Remove plugins from banger's own environment, with all that their distributions bring."""
    from banger_core.plugins.installer import check_environment, uninstall_words

    index = load_index(Paths.from_environment())
    going = [record for name in names for record in find_plugins(index, name)]
    if own := [record for record in going if record.distribution == CORE]:
        raise UsageProblem(
            f"{own[0].name} is part of banger itself",
            cause="it goes with banger, and not alone",
            hints=[f"banger plugin disable {own[0].name}"],
        )
    distributions = sorted({record.distribution for record in going})
    going = [record for record in index.plugins if record.distribution in distributions]
    _check_unused(going, force=force)
    check_environment()
    _call(uninstall_words(distributions), "the packages could not be removed")
    for distribution in distributions:
        tell(f"removed {distribution}")
    _tell_sections(going)
    _tell_daemon()


def disable(name: PluginName, force: Force = False) -> None:
    """Leave a plugin installed, but do not use it: ``plugins.disabled`` of the configuration."""
    from banger_core.config.edit import edit_disabled

    paths = Paths.from_environment()
    found = find_plugins(load_index(paths), name)
    _check_unused(found, force=force)
    wanted = [record.name for record in found]

    def add(names: list[str]) -> list[str]:
        return names + [each for each in wanted if _plain(each) not in map(_plain, names)]

    changed = edit_disabled(paths, add)
    for record in found:
        tell(f"{record.label} is disabled" if changed else f"{record.label} was disabled already")
    if changed:
        _tell_daemon()


def enable(name: PluginName) -> None:
    """Use a plugin again that was disabled."""
    from banger_core.config.edit import edit_disabled

    paths = Paths.from_environment()
    index = load_index(paths)
    found = find_plugins(index, name)
    wanted = {record.name for record in found}

    def drop(names: list[str]) -> list[str]:
        return _without(names, found, index)

    changed = edit_disabled(paths, drop)
    for record in load_index(paths).plugins:
        if record.name in wanted:
            tell(f"{record.label}: {record.status}{f', {record.error}' if record.error else ''}")
    if changed:
        _tell_daemon()


def _without(names: list[str], enabled: list[PluginRecord], index: Index) -> list[str]:
    """Take ``enabled`` out of ``names``. One that names a distribution becomes the names of the
    other plugins that it brings.
    """
    own = {_plain(record.name) for record in enabled}
    brought = {record.distribution for record in enabled}
    kept: list[str] = []
    for each in names:
        if _plain(each) in brought and _plain(each) not in own:
            others = [r.name for r in index.plugins if r.distribution == _plain(each)]
            kept += [other for other in others if _plain(other) not in own | set(kept)]
        elif _plain(each) not in own | brought:
            kept.append(each)
    return kept


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def _check_unused(going: Iterable[PluginRecord], *, force: bool) -> None:
    """Raise Conflict when a machine needs one of the plugins to be started or stopped."""
    from banger_core.cli.link import fetch

    going = list(going)
    drivers, networks = _names(going, "banger_vmm_drivers"), _names(going, "banger_networks")
    # Where nothing was ever made, no daemon need be started to ask
    if force or not (drivers or networks) or not Paths.from_environment().database.exists():
        return
    users: list[str] = []
    # What cannot be asked cannot stand in the way: the plugin may be why there is no daemon
    with suppress(BangerError):
        users = [
            vm["name"]
            for vm in fetch("vms")["vms"]
            if vm["driver"] in drivers or vm["network"] in networks
        ]
    if users:
        raise Conflict(
            f"{going[0].label} is used by {len(users)} machines",
            cause=f"without it nobody can start or stop {', '.join(users[:5])}",
            hints=[f"banger vm delete {' '.join(map(shlex.quote, users[:5]))}", "--force"],
        )


def _names(records: Iterable[PluginRecord], hook: str) -> set[str]:
    return {item["name"] for record in records for item in record.declarations.get(hook, ())}


def _tell_sections(gone: Iterable[PluginRecord]) -> None:
    """Say which sections of the configuration nobody reads any more: they are errors now."""
    from banger_core.config.file import read_config

    file = Paths.from_environment().settings_file
    sections = read_config(file).get("plugins", {})
    for name in sorted(_names(gone, "banger_settings") & set(sections)):
        tell(f"{file} still has the section [plugins.{name}]: take it out")


def _tell_daemon() -> None:
    from banger_core.client.spawn import running

    with suppress(BangerError):
        if running(Paths.from_environment(), tell):
            tell(f"the daemon goes on with the plugins it has; to change that: {RESTART}")


def _call(words: list[str], failure: str) -> None:
    # What it says is talk; stdout is for data
    done = subprocess.run(words, stdout=sys.stderr.fileno(), check=False)
    if done.returncode:
        raise BangerError(
            failure,
            cause=f"{words[0].rpartition('/')[2]} ended with status {done.returncode}; "
            "what it said stands above",
            hints=[shlex.join(words)],
        )


def _installed() -> list[dict[str, Any]]:
    """What a fresh process finds installed: this one may have imported what has changed since."""
    command = [sys.executable, "-P", "-m", "banger_core", "plugin", "list", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise BangerError(
            "the plugins could not be listed",
            cause=(found.stderr.strip().splitlines() or ["it said nothing"])[-1],
            hints=["banger plugin list"],
        )
    rows: list[dict[str, Any]] = json.loads(found.stdout)
    return rows


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return row["name"], row["distribution"], row["version"], row["status"], row["error"]


def distribution_of(package: str) -> str:
    """Return the name of the distribution that is meant by ``package``, as plugins bear it; ""
    where only pip knows.
    """
    import tomllib

    place = Path(package)
    wheel, named = place.suffix == ".whl", _REQUIREMENT.fullmatch(package)
    name = place.name.partition("-")[0] if wheel else named[1] if named else ""
    if place.exists() and not wheel:
        name = ""
        with suppress(OSError, ValueError, KeyError, TypeError):
            name = str(tomllib.loads((place / "pyproject.toml").read_text())["project"]["name"])
    return re.sub(r"[-_.]+", "-", name).lower()
