"""Whether what plugins declare can be used, tried in a process of its own: what they import stays
out of the one that asks.

    python -m banger_core.plugins.tryout

Writes the findings as JSON to stdout.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from banger_core.errors import BangerError, Conflict
from banger_core.jsonable import to_json
from banger_core.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from banger_core.plugins.registry import Registry

_PATIENCE = 120
"""Seconds that importing all plugins may take."""


def try_plugins() -> list[Finding]:
    """Return one finding for each declaration whose code cannot be loaded."""
    command = [sys.executable, "-P", "-m", __name__]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return [_untried(f"importing what they declare took more than {_PATIENCE} s")]
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"Python ended with status {done.returncode}"]
        return [_untried(said[-1])]
    return [Finding(**one) for one in json.loads(done.stdout.splitlines()[-1])]


def unusable(registry: Registry) -> Iterator[Finding]:
    """Load everything that is declared, and tell of what cannot be."""
    for catalogue in registry.catalogues():
        for name in dict.fromkeys(offer.declaration.name for offer in catalogue.offers()):
            try:
                catalogue.load(name)
            except Conflict:
                # That is told of already
                continue
            except BangerError as problem:
                subject = f"{catalogue.kind.noun} {name}"
                plugin = catalogue.owner(name)
                fix = f"banger plugin check {plugin.name}"
                yield _finding(subject, f"{plugin.label} cannot be used", problem.cause, fix)


def _finding(subject: str, message: str, why: str, fix: str) -> Finding:
    return Finding(level="fail", subject=subject, message=message, why=why, fix=fix)


def _untried(why: str) -> Finding:
    return _finding("plugins", "they could not be tried", why, "banger plugin check NAME for each")


def main() -> None:
    """Try the plugins of this banger."""
    from banger_core.config.paths import Paths
    from banger_core.plugins.registry import load_registry

    logging.disable()
    # What plugins print, and libraries in C, is no part of the answer
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        found = [to_json(one) for one in unusable(load_registry(Paths.from_environment()))]
        answer.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
