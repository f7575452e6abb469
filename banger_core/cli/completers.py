"""What completes values on the command line.

Each takes what was typed of one and returns those that begin so. They are found in what is
stored: a key press starts nothing, waits for nobody and complains of nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from banger_core.client.names import Kind
    from banger_core.config.paths import Paths

Found = list[str] | list[tuple[str, str]]
"""Values, or values and what is said about each."""


def names_of(kind: Kind) -> Any:
    """Return what completes names of ``kind``: ``vms``, ``images`` or ``kernels``."""

    def complete(incomplete: str) -> Found:
        from banger_core.cli.link import known_names

        return _beginning(known_names(kind), incomplete)

    return complete


def one_of(*values: str) -> Any:
    """Return what completes one of ``values``."""

    def complete(incomplete: str) -> Found:
        return _beginning(values, incomplete)

    return complete


def declared(hook: str) -> Any:
    """Return what completes names of what plugins declare with ``hook``."""

    def complete(incomplete: str) -> Found:
        rows = ((one["name"], one["summary"]) for one in _declarations(hook))
        return sorted(row for row in rows if row[0].startswith(incomplete))

    return complete


def image_references(incomplete: str) -> Found:
    """Complete an image that is here, or the scheme of a source of others."""
    from banger_core.cli.link import known_names

    here = [(name, "") for name in known_names("images")]
    sources = _declarations("banger_image_sources")
    schemes = sorted((f"{each}://", one["summary"]) for one in sources for each in one["schemes"])
    return [row for row in [*here, *schemes] if row[0].startswith(incomplete)]


def kernels(incomplete: str) -> Found:
    """Complete a kernel that can be named for a machine: those that are here, then those on
    offer.
    """
    from banger_core.cli.link import known_names, offered_kernels

    return _beginning(dict.fromkeys([*known_names("kernels"), *offered_kernels()]), incomplete)


def snapshots(ctx: typer.Context, incomplete: str) -> Found:
    """Complete a snapshot of the machine that was named before it."""
    from banger_core.client.names import stored_snapshots

    return _of_machine(ctx, incomplete, stored_snapshots)


def sessions(ctx: typer.Context, incomplete: str) -> Found:
    """Complete a session that the machine has, running or ended: which of the two only the
    machine knows, and it is not asked.
    """
    from banger_core.client.names import stored_sessions

    return _of_machine(ctx, incomplete, lambda paths, vm: stored_sessions(paths, vm, gone=False))


def all_sessions(ctx: typer.Context, incomplete: str) -> Found:
    """Complete a session, also one that went with its machine."""
    from banger_core.client.names import stored_sessions

    return _of_machine(ctx, incomplete, lambda paths, vm: stored_sessions(paths, vm, gone=True))


def forwards(ctx: typer.Context, incomplete: str) -> Found:
    """Complete a port that the machine publishes."""
    from banger_core.client.names import stored_forwards

    return _of_machine(ctx, incomplete, stored_forwards)


def labels(incomplete: str) -> Found:
    """Complete ``KEY=VALUE`` of a label that some machine has: first the key, then the value."""
    from banger_core.client.names import stored_labels

    pairs = stored_labels(_paths())
    if "=" in incomplete:
        return _beginning([f"{key}={value}" for key, value in pairs], incomplete)
    return _beginning(dict.fromkeys(f"{key}=" for key, _ in pairs), incomplete)


def label_keys(ctx: typer.Context, incomplete: str) -> Found:
    """Complete the key of a label that a machine has which was named before it, or any machine."""
    from banger_core.client.names import stored_labels

    paths = _paths()
    pairs = [pair for vm in _machines(ctx) or [""] for pair in stored_labels(paths, vm)]
    return _beginning(sorted({key for key, _ in pairs}), incomplete)


def copied(incomplete: str) -> Found:
    """Complete ``VM:`` or a path on this host. What lies in a machine, nobody is asked for."""
    from contextlib import suppress
    from pathlib import Path

    from banger_core.cli.link import known_names

    if "/" in incomplete or ":" in incomplete:
        return []
    files: list[str] = []
    with suppress(OSError):
        here = sorted(each for each in Path().iterdir() if incomplete or each.name[:1] != ".")
        files = [f"{each}{'/' * each.is_dir()}" for each in here]
    return _beginning([*(f"{name}:" for name in known_names("vms")), *files], incomplete)


def _beginning(values: Iterable[str], incomplete: str) -> list[str]:
    return [value for value in values if value.startswith(incomplete)]


def _of_machine(
    ctx: typer.Context, incomplete: str, find: Callable[[Paths, str], list[str]]
) -> list[str]:
    """Those that ``find`` knows of the machine, but for what stands on the line already."""
    paths = _paths()
    several = (words for words in ctx.params.values() if isinstance(words, list | tuple))
    given = {each for words in several for each in words}
    found = [each for vm in _machines(ctx)[:1] for each in find(paths, vm)]
    return [each for each in _beginning(found, incomplete) if each not in given]


def _machines(ctx: typer.Context) -> list[str]:
    """Those that the command line has named: the commands' first argument."""
    first = next((one.name for one in ctx.command.params if one.param_type_name == "argument"), "")
    # An option that lacks its value keeps typer from telling arguments apart
    named = ctx.params.get(first or "") or ctx.args
    return [named] if isinstance(named, str) else list(named)


def _declarations(hook: str) -> list[dict[str, Any]]:
    from banger_core.errors import BangerError
    from banger_core.plugins.index import load_index

    try:
        plugins = load_index(_paths()).usable()
    except BangerError:
        return []
    return [one for plugin in plugins for one in plugin.declarations.get(hook, ())]


def _paths() -> Paths:
    from banger_core.config.paths import Paths

    return Paths.from_environment()
