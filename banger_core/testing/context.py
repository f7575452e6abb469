"""A context for implementations that are called by a test and not by the daemon."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from banger_core.config.paths import secure_dir
from banger_core.model import ProcessId


class FakeContext:
    """Directories below ``root``; programs really run; progress is kept in ``reports``."""

    def __init__(self, root: Path, settings: Mapping[str, Any] | None = None) -> None:
        self._root = root
        self._settings = dict(settings or {})
        self.reports: list[tuple[str, int, int]] = []
        self.spawned: list[ProcessId] = []

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the test gave."""
        return self._settings

    @property
    def log(self) -> logging.Logger:
        """The logger ``banger.plugin.under-test``."""
        return logging.getLogger("banger.plugin.under-test")

    @property
    def cache_dir(self) -> Path:
        """``root/cache``."""
        return secure_dir(self._root / "cache")

    @property
    def state_dir(self) -> Path:
        """``root/state``."""
        return secure_dir(self._root / "state")

    @property
    def kernels_dir(self) -> Path:
        """``root/kernels``."""
        return secure_dir(self._root / "kernels")

    @property
    def ssh_dir(self) -> Path:
        """``root/ssh``."""
        return secure_dir(self._root / "ssh")

    def progress(self, what: str, done: int, total: int) -> None:
        """Keep the report."""
        self.reports.append((what, done, total))

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> bytes:
        """Run a program to its end, as the daemon does."""
        from banger_core.engine.run import run

        return await run(argv, stdin=stdin, timeout=timeout)

    async def spawn(self, argv: Sequence[str], *, directory: Path) -> ProcessId:
        """Start a long-lived process, as the daemon does; ``close`` ends it."""
        from banger_core.engine.process import spawn

        process = await spawn(argv, directory=directory)
        self.spawned.append(process)
        return process

    def close(self) -> None:
        """Kill what was spawned and still runs."""
        import signal

        from banger_core.engine import process

        for spawned in self.spawned:
            process.signal(spawned, signal.SIGKILL)
