"""Asking one plugin what it declares, through pluggy, with everything checked on the way."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pluggy

from banger_core.api import API_VERSION
from banger_core.hookspecs import PROJECT, Hooks
from banger_core.jsonable import to_json
from banger_core.plugins.kinds import BY_HOOK, Kind
from banger_core.plugins.trace import traced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from banger_core.declare import Declared

_MARK = f"{PROJECT}_impl"
_OPTIONS = ("hookwrapper", "wrapper", "tryfirst", "trylast", "optionalhook", "specname")


class RejectedPlugin(Exception):
    """A plugin breaks a rule; the text says which, for its author."""


class IncompatiblePlugin(RejectedPlugin):
    """A plugin was written for another version of the API."""


def new_manager() -> pluggy.PluginManager:
    """Return a manager that knows the hooks and no plugin."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    return manager


def collect(manager: pluggy.PluginManager, plugin: object, name: str) -> dict[str, list[Any]]:
    """Register ``plugin`` and return the JSON of what each of its hooks declares.

    Raises RejectedPlugin for a broken rule; what the plugin's own code raises passes through.
    """
    _check_api(plugin)
    for hook, function, options in _hook_functions(plugin):
        _check_function(hook, function, options)
    manager.register(plugin, name)
    found: dict[str, list[Any]] = {}
    for caller in manager.get_hookcallers(plugin) or ():
        # Called alone, so that a failure has one author and stops nobody else
        function = next(i.function for i in caller.get_hookimpls() if i.plugin is plugin)
        with traced(f"{name} {caller.name}") as gave:
            declared = _checked(BY_HOOK[caller.name], function())
            gave += [declaration.name for declaration in declared]
        found[caller.name] = [to_json(declaration) for declaration in declared]
    return found


def _check_api(plugin: object) -> None:
    version = getattr(plugin, "BANGER_API", None)
    if version is None:
        raise RejectedPlugin(
            f"it does not say which API it was written for: BANGER_API = {API_VERSION}"
        )
    if not isinstance(version, int) or isinstance(version, bool):
        raise RejectedPlugin(f"BANGER_API is {version!r}, not a whole number")
    if version != API_VERSION:
        older = "banger" if version > API_VERSION else "the plugin"
        raise IncompatiblePlugin(
            f"it was written for plugin API {version}, this banger has {API_VERSION}: "
            f"upgrade {older}"
        )


def _hook_functions(plugin: object) -> Iterator[tuple[str, Any, dict[str, Any] | None]]:
    """Yield name, function and pluggy's options of all that is a hook, or looks like one."""
    for name in dir(plugin):
        value = getattr(plugin, name)
        options = getattr(value, _MARK, None)
        looks = name.startswith(f"{PROJECT}_") and isinstance(value, FunctionType)
        if isinstance(options, dict) or looks:
            yield name, value, options


def _check_function(name: str, function: Any, options: dict[str, Any] | None) -> None:
    if name not in BY_HOOK:
        near = get_close_matches(name, BY_HOOK, n=1, cutoff=0.6)
        advice = f", did you mean {near[0]}?" if near else f"; there is: {', '.join(BY_HOOK)}"
        raise RejectedPlugin(f"there is no hook {name}{advice}")
    if options is None:
        raise RejectedPlugin(f"{name} is not marked with @hookimpl")
    if given := [option for option in _OPTIONS if options.get(option)]:
        raise RejectedPlugin(f"{name} uses {', '.join(given)}: hooks take no options")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise RejectedPlugin(f"{name} is async: hooks only declare, so they are plain functions")
    if parameters := list(inspect.signature(function).parameters):
        raise RejectedPlugin(f"{name} takes {', '.join(parameters)}: hooks take no arguments")


def _checked(kind: Kind[Declared], result: Any) -> list[Declared]:
    if result is None or isinstance(result, str | bytes) or not hasattr(result, "__iter__"):
        wanted = kind.declares.__name__
        advice = "yield it" if type(result) is kind.declares else f"yield {wanted}(…)"
        raise RejectedPlugin(f"{kind.hook} gave {_type(result)}, not declarations: {advice}")
    declared = list(result)
    for declaration in declared:
        if type(declaration) is not kind.declares:
            wanted = kind.declares.__name__
            raise RejectedPlugin(
                f"{kind.hook} yielded {_type(declaration)}, not {wanted}: yield {wanted}(…)"
            )
    names = [declaration.name for declaration in declared]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RejectedPlugin(f"{kind.hook} declares {', '.join(sorted(twice))} twice")
    return declared


def _type(value: object) -> str:
    name = type(value).__name__
    return "nothing" if value is None else f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
