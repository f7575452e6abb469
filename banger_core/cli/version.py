"""``banger version``: this program's and the daemon's."""

from __future__ import annotations

import platform

from banger_core import __version__
from banger_core.cli.options import AsJson
from banger_core.client.spawn import running
from banger_core.config.paths import Paths
from banger_core.errors import DaemonUnavailable
from banger_core.ui.console import tell
from banger_core.ui.human import plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_details


def version(as_json: AsJson = False) -> None:
    """Say which versions run here."""
    facts = {
        "banger": __version__,
        "daemon": _daemon(),
        "python": platform.python_version(),
        "system": platform.release(),
        "machine": platform.machine(),
    }
    if as_json:
        show_json(facts)
    else:
        show_details({name: value or "not running" for name, value in facts.items()})


def _daemon() -> str | None:
    try:
        found = running(Paths.from_environment(), tell)
    except DaemonUnavailable as problem:
        return problem.summary
    return plain(found[1].get("version")) if found else None
