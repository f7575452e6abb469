"""What the daemon lives by: if somebody removes or replaces it, nobody finds this daemon again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

LOOK = 1.0
"""How often the daemon looks (seconds)."""


class Watch:
    """Remembers which files ``paths`` name now, and notices when they name others or none."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known = {path: _identity(path) for path in paths}

    def lost(self) -> Path | None:
        """Return a path that does not name the same file any more, or None."""
        return next((path for path, was in self._known.items() if _identity(path) != was), None)

    async def wait(self) -> Path:
        """Return the first path that is lost, within ``LOOK`` seconds of its loss."""
        # Polled: inotify(7) follows the directory that was removed, not the path
        while (lost := self.lost()) is None:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
        return lost


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.lstat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
