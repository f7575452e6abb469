"""Building every package of this repository, and environments that hold only what was installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from banger_core.testing.wheels import shared_cache

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
PACKAGES = [ROOT, *sorted(path.parent for path in ROOT.glob("*/*/pyproject.toml"))]
"""The core, the plugins and the examples."""


CORE = ("banger_core", "docs", "tests", "LICENSE", "README.md", "pyproject.toml")
"""What the core's source distribution is made of."""


def call(*words: object, cwd: Path, **env: str) -> str:
    """Run a program and return what it said. Raises AssertionError when it fails."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BANGER_", "PYTEST_"))}
    cache = shared_cache()
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={
            **kept,
            "BANGER_TEST_CACHE": str(cache),
            "UV_CACHE_DIR": str(cache / "uv"),
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
            **env,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1700,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout[-8000:]}"
    return done.stdout


@dataclass(frozen=True)
class Built:
    """The wheel and the source distribution of one package."""

    name: str
    wheel: Path
    sdist: Path


def build(package: Path, into: Path) -> Built:
    """Build ``package`` from a copy: a source distribution, and out of that a wheel."""
    name = "banger_core" if package == ROOT else package.name
    source, out = into / "source" / name, into / "dist" / name
    for path in [package / name for name in CORE] if package == ROOT else package.iterdir():
        if path.is_dir():
            shutil.copytree(path, source / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, source)
    call(UV, "build", "--quiet", "--out-dir", out, source, cwd=into)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Built(name, wheel, sdist)


class Environment:
    """A Python environment of its own, made by uv; ``home`` holds it and its banger's state."""

    def __init__(self, home: Path, *, pip: bool = False) -> None:
        self.home = home
        self.python = home / "env" / "bin" / "python"
        seed = ["--seed"] if pip else []
        call(UV, "venv", "--quiet", *seed, "--python", sys.executable, home / "env", cwd=home)
        self.places = {
            f"BANGER_{name}_DIR": str(home / name.lower())
            for name in ("STATE", "CACHE", "CONFIG", "RUNTIME")
        }

    def install(self, *words: object) -> None:
        self.uv("install", *words)

    def uv(self, verb: str, *words: object) -> str:
        return call(*(UV, "pip", verb, "--quiet", "--python", self.python), *words, cwd=self.home)

    def with_test_tools(self) -> Environment:
        """Add what tests need; what is there stays as it is."""
        keep = self.home / "keep.txt"
        keep.write_text("".join(f"{line}\n" for line in self.uv("freeze").split() if "==" in line))
        self.install("--group", f"{ROOT}/pyproject.toml:test", "--constraint", keep)
        return self

    def banger(self, *words: str) -> str:
        return call(
            self.python.with_name("banger"),
            *words,
            cwd=self.home,
            **self.places,
            PATH=f"{self.python.parent}:{UV.parent}:{os.environ['PATH']}",
        )

    def tests(self, built: Built, *paths: str, skip: tuple[str, ...] = ()) -> str:
        """Run tests out of the source distribution, without the sources beside them, and return
        pytest's last line. What the core's sdist says of pytest holds for all.
        """
        place = self.home / "tests" / built.name
        with tarfile.open(built.sdist) as archive:
            archive.extractall(place, filter="data")
        (root,) = place.iterdir()
        for source in ("banger_core", "src"):
            shutil.rmtree(root / source, ignore_errors=True)
        ignored = [f"--ignore-glob=*{word}*" for word in skip]
        said = call(
            *(self.python.with_name("pytest"), "-q", "-c", ROOT / "pyproject.toml"),
            *("--rootdir", root, "-p", "no:cacheprovider", "-m", "not system"),
            *("-o", f"pythonpath={root}/tests", *ignored),
            *(root / path for path in paths or ("tests",)),
            cwd=root,
        )
        return said.strip().splitlines()[-1]
