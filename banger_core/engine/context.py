"""What a plugin gets to work with (``contracts.Context``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from banger_core.config.paths import Paths, secure_dir
from banger_core.engine.operations import Operation
from banger_core.engine.process import spawn
from banger_core.engine.run import run
from banger_core.model import ProcessId


class PluginContext:
    """The context of one plugin, in one operation or in none."""

    def __init__(
        self,
        plugin: str,
        paths: Paths,
        settings: Mapping[str, Any],
        operation: Operation | None = None,
    ) -> None:
        self._plugin, self._paths = plugin, paths
        self._settings, self._operation = settings, operation

    @property
    def settings(self) -> Mapping[str, Any]:
        """The plugin's own section of the configuration."""
        return self._settings

    @property
    def log(self) -> logging.Logger:
        """A logger that names the plugin."""
        return logging.getLogger(f"banger.plugin.{self._plugin}")

    @property
    def cache_dir(self) -> Path:
        """``<cache>/PLUGIN``."""
        return secure_dir(self._paths.cache / self._plugin)

    @property
    def state_dir(self) -> Path:
        """``<state>/plugins/PLUGIN``."""
        return secure_dir(self._paths.plugin_state(self._plugin))

    @property
    def kernels_dir(self) -> Path:
        """``<state>/kernels``."""
        return secure_dir(self._paths.kernels)

    @property
    def ssh_dir(self) -> Path:
        """``<state>/ssh``."""
        return secure_dir(self._paths.ssh)

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass progress on to the operation."""
        if self._operation is not None:
            self._operation.progress(what, done, total)

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> bytes:
        """Run a host program to its end."""
        return await run(argv, stdin=stdin, timeout=timeout)

    async def spawn(self, argv: Sequence[str], *, directory: Path) -> ProcessId:
        """Start a process that outlives the daemon."""
        return await spawn(argv, directory=directory)
