"""Parts of the plugin API that will go: they work until then, and each plugin that uses one is
named once. Standard library only.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OWN = __name__.partition(".")[0]
_said: set[tuple[str, str]] = set()
_used: ContextVar[tuple[str, list[str]] | None] = ContextVar("_used", default=None)


class PluginDeprecationWarning(DeprecationWarning):
    """A plugin uses a part of the API that will go."""


def deprecated(what: str, *, goes_in: str, instead: str) -> None:
    """Say that the plugin which uses ``what`` has until banger ``goes_in`` to use ``instead``.

    It is said once for each plugin: as a warning (tests of authors see it), in the log, and, when
    it happens while plugins are looked at, in what is known about the plugin (``banger plugin
    list`` and ``doctor``).
    """
    text = f"{what} goes in banger {goes_in}: use {instead}"
    collecting = _used.get()
    if collecting is not None and text not in collecting[1]:
        collecting[1].append(text)
    user = collecting[0] if collecting else _user()
    if (user, what) in _said:
        return
    _said.add((user, what))
    logging.getLogger("banger.plugin").warning("plugin %s uses %s", user, text)
    warnings.warn(f"plugin {user} uses {text}", PluginDeprecationWarning, stacklevel=_depth())


@contextmanager
def collecting(plugin: str) -> Iterator[list[str]]:
    """Blame ``plugin`` for what is used inside, and collect it in the list."""
    used: list[str] = []
    token = _used.set((plugin, used))
    try:
        yield used
    finally:
        _used.reset(token)


def _depth() -> int:
    """How far above the caller of this the code is that is none of ours."""
    depth, frame = 1, sys._getframe(1)  # noqa: SLF001 - what warnings.warn counts in
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        depth, frame = depth + 1, frame.f_back
    return depth


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in (_OWN, "importlib", "contextlib", "pluggy")


def _user() -> str:
    """Return the name of the plugin whose code is running, or of its package."""
    frame = sys._getframe(1)  # noqa: SLF001 - who calls is the question
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    package = str(frame.f_globals.get("__name__", "?")).partition(".")[0]
    from importlib.metadata import entry_points

    for entry in entry_points(group=_OWN.removesuffix("_core")):
        if entry.value.partition(".")[0] == package:
            return entry.name
    return package
