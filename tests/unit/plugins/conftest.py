"""Distributions that are really installed, for processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from banger_core.testing.install import install_plugin

PROBE = """\
import json, sys
from banger_core.config.paths import Paths
from banger_core.plugins.index import load_index
index = load_index(Paths.from_environment(), no_plugins="--no-plugins" in sys.argv)
modules = sorted(sys.modules)
print(json.dumps({
    "plugins": {plugin.name: plugin.to_dict() for plugin in index.plugins},
    "order": [plugin.distribution for plugin in index.plugins],
    "missing": index.missing,
    "modules": modules,
}))
"""


class Host:
    """A directory of plugins, and commands that see it."""

    def __init__(self, directory, paths):
        self.directory, self.paths = directory, paths

    def install(self, name, source="", **more):
        return install_plugin(self.directory, name, source=source, **more)

    def python(self, code, *arguments, **environment):
        """Run code in a process that knows only these plugins and banger itself."""
        found = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "PYTHONPATH": str(self.directory), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    def index(self, *arguments, **environment):
        return json.loads(self.python(PROBE, *arguments, **environment))


@pytest.fixture
def host(tmp_path, banger_paths):
    directory = tmp_path / "site"
    directory.mkdir()
    return Host(directory, banger_paths)
