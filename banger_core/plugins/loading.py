"""What ``load`` of a declaration names."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any


class NotLoadable(Exception):
    """``load`` names what is not there; the text says so to the plugin's author."""


def load_target(load: str) -> Any:
    """Return what ``load`` (``package.module:attribute``) names, importing its module.

    Raises NotLoadable, and whatever the module raises when it is imported.
    """
    module, _, attribute = load.partition(":")
    try:
        found = import_module(module)
    except ModuleNotFoundError as problem:
        if problem.name and f"{module}.".startswith(f"{problem.name}."):
            raise NotLoadable(f"load names {load}, and there is no module {problem.name}") from None
        raise
    if not hasattr(found, attribute):
        near = get_close_matches(attribute, vars(found), n=1)
        advice = f": did you mean {near[0]}?" if near else ""
        raise NotLoadable(f"load names {load}, and {module} has no {attribute}{advice}")
    return getattr(found, attribute)
