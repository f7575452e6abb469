"""What ``load`` of a declaration names, and what is said when a plugin's code breaks."""

from __future__ import annotations

import traceback
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
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


def told(problem: BaseException, module: str) -> str:
    """Say in one line what ``problem`` is, and where in the package of ``module`` it came up."""
    said, package = " ".join(str(problem).split()), module.partition(".")[0]
    said = f"{type(problem).__name__}: {said}" if said else type(problem).__name__
    files = [(Path(each.filename), each.lineno) for each in _frames(problem)]
    places = [(file, line) for file, line in files if package in (file.stem, *file.parts)]
    return f"{said} ({places[-1][0].name}, line {places[-1][1]})" if places else said


def _frames(problem: BaseException) -> traceback.StackSummary:
    return traceback.extract_tb(problem.__traceback__)
