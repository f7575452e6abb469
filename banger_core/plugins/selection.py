"""Which plugins may be used. Decided before anything of them is imported."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from banger_core.plugins.record import CORE

ONLY = "BANGER_PLUGINS"
DISABLE = "BANGER_DISABLE"


@dataclass(frozen=True, slots=True)
class Selection:
    """The user's choice. Names are those of plugins or of distributions.

    ``only`` leaves nothing but these and the core's own; ``disabled`` and ``configured`` (from
    ``plugins.disabled``) block any plugin, the core's own too.
    """

    only: frozenset[str] | None = None
    disabled: frozenset[str] = frozenset()
    configured: frozenset[str] = frozenset()

    @classmethod
    def from_environment(
        cls, configured: Iterable[str] = (), *, no_plugins: bool = False
    ) -> Selection:
        """Read ``BANGER_PLUGINS`` (set but empty: none) and ``BANGER_DISABLE``."""
        only = "" if no_plugins else os.environ.get(ONLY)
        return cls(
            only=None if only is None else _names(only.split(",")),
            disabled=_names(os.environ.get(DISABLE, "").split(",")),
            configured=_names(configured),
        )

    def reason(self, name: str, distribution: str) -> str:
        """Say why a plugin is blocked; empty when it is not."""
        names = _names((name, distribution))
        if names & self.disabled:
            return f"disabled by {DISABLE}"
        if names & self.configured:
            return "disabled by plugins.disabled in the configuration"
        if self.only is not None and distribution != CORE and not names & self.only:
            return f"not among {ONLY}" if self.only else "plugins are switched off"
        return ""

    def unknown(self, installed: Iterable[str]) -> tuple[str, ...]:
        """Return the names that were asked for but are not installed."""
        return tuple(sorted((self.only or frozenset()) - _names(installed)))


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.strip().lower().replace("_", "-") for name in names if name.strip())
