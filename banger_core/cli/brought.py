"""Commands that plugins bring: found in the index, imported when they are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from banger_core.cli.group import Made, Member

if TYPE_CHECKING:
    from collections.abc import Callable

    from banger_core.plugins.record import PluginRecord

_HOOK = "banger_commands"


class Brought(Member):
    """A command of plugins. What its code raises beyond ``BangerError`` names the plugin."""

    owners: tuple[PluginRecord, ...]

    def make(self, name: str) -> Made:
        """Import the code and build the command. Raises Conflict when several plugins bring one
        of this name, PluginError when it cannot be used.
        """
        if len(self.owners) > 1:
            raise _clash(name, self.owners)
        (owner,) = self.owners
        made: Made = _guarded(self._made, owner, _HOOK)(name)
        made.help = made.help or self.summary
        made.invoke = _guarded(made.invoke, owner, f"command {name}")  # type: ignore[method-assign]
        return made

    def _made(self, name: str) -> Made:
        from banger_core.plugins.loading import load_target

        load_target(self.target)
        return super().make(name)


def brought_commands(*, no_plugins: bool = False) -> dict[str, Member]:
    """Return the commands of all plugins that may be used, by name. Raises UsageProblem when the
    configuration, which may disable plugins, cannot be read.
    """
    from banger_core.config.paths import Paths
    from banger_core.plugins.index import load_index

    found: dict[str, Brought] = {}
    for plugin in load_index(Paths.from_environment(), no_plugins=no_plugins).usable():
        for command in plugin.declarations.get(_HOOK, ()):
            name = command["name"]
            same = found[name].owners if name in found else ()
            found[name] = Brought(command["summary"], command["load"])
            found[name].owners = (*same, plugin)
    return dict(found)


def broken_plugins() -> list[str]:
    """Return the names of plugins that may be used but cannot, and so bring no command."""
    from banger_core.config.paths import Paths
    from banger_core.plugins.index import load_index

    plugins = load_index(Paths.from_environment()).plugins
    return [plugin.name for plugin in plugins if plugin.status in ("broken", "incompatible")]


def _guarded(call: Callable[..., Any], owner: PluginRecord, where: str) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except Exception as problem:
            if (blamed := _blamed(problem, owner, where)) is None:
                raise
            raise blamed from problem

    return guarded


def _blamed(problem: Exception, owner: PluginRecord, where: str) -> Exception | None:
    """The error that names the plugin; None for what has its own way to the user."""
    import typer

    from banger_core.errors import BangerError, PluginError
    from banger_core.plugins.loading import NotLoadable, told

    expected = (BangerError, BrokenPipeError, typer.Exit, typer.Abort, typer.TyperException)
    if isinstance(problem, expected):
        return None
    said = str(problem) if isinstance(problem, NotLoadable) else told(problem, owner.module)
    return PluginError(
        owner.name,
        owner.distribution,
        owner.version,
        where,
        said,
        hints=["BANGER_DEBUG=1 shows where", f"BANGER_DISABLE={owner.name} goes without it"],
    )


def _clash(name: str, owners: tuple[PluginRecord, ...]) -> Exception:
    from banger_core.errors import Conflict

    return Conflict(
        f"command {name!r} is declared by {len(owners)} plugins",
        cause=f"they are {' and '.join(owner.label for owner in owners)}",
        hints=[f"BANGER_DISABLE={owner.name} for one command" for owner in owners],
    )
