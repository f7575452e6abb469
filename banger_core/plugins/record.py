"""What is known about one plugin without importing it. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["ok", "broken", "disabled", "incompatible"]

CORE = "banger"
"""The distribution whose plugins are the core's own."""

Stamp = list[int]
"""Modification time in nanoseconds and size of a file; empty when it is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRecord:
    """One entry point of the group ``banger``.

    ``name`` is the entry point, ``module`` what it names. ``error`` is one line, ``traceback``
    the whole story. ``declarations`` holds for each hook the JSON of what it declared.
    ``scanned`` is false while the module was never imported, because the plugin was disabled.
    ``deprecations`` are the parts of the API that it uses and that will go.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Status = "ok"
    error: str = ""
    traceback: str = ""
    declarations: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    scanned: bool = True
    deprecations: Sequence[str] = ()

    @property
    def label(self) -> str:
        """The plugin and where it comes from, for messages."""
        return f"{self.name} ({self.distribution} {self.version})"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; ``PluginRecord(**form)`` is the way back."""
        return asdict(self)


def stamp(file: str) -> Stamp:
    """Return what changes when ``file`` does."""
    try:
        facts = Path(file).stat()
    except OSError:
        return []
    return [facts.st_mtime_ns, facts.st_size]
