"""The check: one aspect of the host, and a way to mend it where that is safe."""

from __future__ import annotations

import os

from banger_core.api import Context, Finding

WANTED = 1024
"""So many open files one process should be allowed to have."""


class FrozenCheck:
    """Looks at one thing, and says what it saw."""

    async def check(self, cx: Context) -> list[Finding]:
        """Look, change nothing. What is well is said, too (level ``pass``)."""
        limit = os.sysconf("SC_OPEN_MAX")
        if limit >= WANTED:
            said = f"{limit} files may be open"
            return [Finding(level="pass", subject="frozen", message=said)]
        return [
            Finding(
                level="warn",
                subject="frozen",
                message=f"only {limit} files may be open",
                why="each machine takes a few",
                fix=f"ulimit -n {WANTED}",
            )
        ]

    async def fix(self, cx: Context) -> list[Finding]:
        """Mend what is safe to mend and say what was done; nothing here can be."""
        return []
