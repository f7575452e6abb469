"""Look at what a plan needs of the host: blocks here, or never."""

from __future__ import annotations

from collections.abc import Iterable

from banger_core.declare import Declared
from banger_core.errors import HostNotReady
from banger_core.plugins.needs import missing_needs


def check_needs(chosen: Iterable[Declared]) -> None:
    """Raise HostNotReady when something that ``chosen`` needs is missing."""
    if findings := missing_needs(chosen):
        first = findings[0]
        raise HostNotReady(
            first.message,
            cause=first.why,
            hints=[finding.fix for finding in findings],
        )
