"""A plugin needs the core and nothing else of banger, and the core does not need the plugin."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger_core.testing.wheels import shared_cache

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("plugin-alone")]


class Environment:
    """A Python environment that holds the core, one plugin, and what tests need."""

    def __init__(self, home: Path, state: Path, plugin: str) -> None:
        self.home, self.state, self.plugin = home, state, home / plugin
        # Copies: an installation from the folders themselves would leave its traces there
        core = home / "core"
        core.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, core)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "banger_core", core / "banger_core", ignore=ignore)
        shutil.copytree(ROOT / "plugins" / plugin, self.plugin, ignore=ignore)
        self.bin = home / "env" / "bin"
        self._call(sys.executable, "-m", "venv", str(home / "env"))
        self.pip("install", "--upgrade", "pip>=25.1")
        self.pip("install", str(core), str(self.plugin), "--group", f"{core}/pyproject.toml:test")
        self._config = core / "pyproject.toml"

    def pip(self, *words: str) -> None:
        self._call(str(self.bin / "python"), "-m", "pip", "--quiet", *words)

    def tests(self) -> str:
        """Run the plugin's own tests, but for those that boot machines, which need a driver."""
        return self._call(
            *(str(self.bin / "python"), "-m", "pytest", "-q", "-c", str(self._config)),
            *("--rootdir", str(self.plugin), "-p", "no:cacheprovider"),
            *("-o", f"pythonpath={self.plugin}/tests"),
            *("-m", "not system", str(self.plugin / "tests")),
        )

    def banger(self, *words: str) -> subprocess.CompletedProcess[str]:
        homes = {
            f"BANGER_{name}_DIR": str(self.state / name.lower())
            for name in ("STATE", "CACHE", "CONFIG", "RUNTIME")
        }
        return subprocess.run(
            [str(self.bin / "banger"), *words],
            env={**self._environment(), **homes},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def _call(self, *argv: str) -> str:
        done = subprocess.run(
            argv,
            cwd=self.home,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1700,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout

    def _environment(self) -> dict[str, str]:
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("BANGER_", "PYTEST_"))}
        cache = {"BANGER_TEST_CACHE": str(shared_cache())}
        return {**mine, **cache, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@pytest.fixture
def state() -> Iterator[Path]:
    """A short path, because a Unix socket lies below."""
    path = Path(tempfile.mkdtemp(prefix="bpa-"))
    yield path
    shutil.rmtree(path)


def test_oci_with_the_core_alone_and_the_core_without_oci(tmp_path, state):
    environment = Environment(tmp_path, state, "banger_oci")
    summary = environment.tests().strip().splitlines()[-1]
    assert " passed" in summary
    assert "skipped" not in summary

    environment.pip("uninstall", "--yes", "banger-oci")
    try:
        assert environment.banger("plugin", "list").returncode == 0
        for reference in ("oci://python:3.12-slim", "python"):
            done = environment.banger("image", "pull", reference)
            assert done.returncode == 2, done.stderr
            assert "pip install banger-oci" in done.stderr
    finally:
        environment.banger("daemon", "stop")
