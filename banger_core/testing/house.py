"""A whole banger to throw away: the real command line and a real daemon, over the fakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from site import getsitepackages
from typing import TYPE_CHECKING, Any

from banger_core.testing.fakes import CONFIG
from banger_core.testing.install import install_plugin

if TYPE_CHECKING:
    from banger_core.config.paths import Paths

_TIMEOUT = 60.0


class House:
    """One banger with the fakes and the plugins in ``modules``; its daemon starts when needed.

    A module that an installed distribution brings is used as that, any other is made to look
    installed. ``config`` is added to the configuration that chooses the fakes.
    """

    def __init__(self, paths: Paths, site: Path, modules: tuple[str, ...], config: str) -> None:
        self.paths = paths
        site.mkdir(exist_ok=True)
        names, places = ["fakes"], [str(site)]
        install_plugin(site, "fakes", module="banger_core.testing.fakes")
        installed = {entry.value: entry.name for entry in metadata.entry_points(group="banger")}
        for module in modules:
            name = installed.get(module) or module.split(".")[0].replace("_", "-")
            if module not in installed:
                install_plugin(site, name, module=module)
            if (root := _root(module)) not in getsitepackages():
                places.append(root)
            names.append(name)
        paths.ready()
        paths.settings_file.write_text(CONFIG + config)
        paths.settings_file.chmod(0o600)
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(places),
            "BANGER_PLUGINS": ",".join(names),
            "NO_COLOR": "1",
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``banger WORDS`` and return how it ended."""
        return subprocess.run(
            [sys.executable, "-m", "banger_core", *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )

    def banger(self, *words: str) -> str:
        """Run ``banger WORDS`` and return its stdout. Raises AssertionError when it fails."""
        done = self.run(*words)
        said = f"banger {' '.join(words)}: status {done.returncode}\n{done.stderr}"
        assert done.returncode == 0, f"{said}\n{self.log()}"
        return done.stdout

    def json(self, *words: str) -> Any:
        """Run ``banger WORDS --json`` and return what it says."""
        return json.loads(self.banger(*words, "--json"))

    def log(self) -> str:
        """Return what the daemon wrote."""
        log = self.paths.daemon_log
        return log.read_text() if log.exists() else ""

    def stop(self) -> None:
        """Stop the daemon; the next command starts another one."""
        self.banger("daemon", "stop")

    def close(self) -> None:
        """Delete all machines and stop the daemon."""
        if self.paths.daemon_lock.exists():
            for vm in self.json("vm", "list"):
                self.banger("vm", "delete", "--force", vm["name"])
            self.stop()


def _root(module: str) -> str:
    file = import_module(module).__file__
    assert file is not None
    return str(Path(file).parents[len(module.split(".")) - 1])
