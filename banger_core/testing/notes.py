"""A VM's note as the daemon leaves it, for tests of the commands that read nothing else."""

from __future__ import annotations

import json
from pathlib import Path

POLICIES = 12
"""As many files as an administrator with a few policies has."""


def write_note(path: Path) -> None:
    """Write a note that leads to the host ``host``, and that nothing has made stale."""
    stamps = {f"/nowhere/policy.d/{number}.toml": None for number in range(POLICIES)}
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text(
        json.dumps({"argv": ["ssh", "-F", "none", "host"], "shell": [], "stamps": stamps})
    )
    path.chmod(0o600)
