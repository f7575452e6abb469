"""What the tutorials tell people to type is typed, and works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands(page):
    blocks = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An environment of its own that has all that this one has, and is where plugins go."""
    place = tmp_path / "env"
    venv.create(place, with_pip=True)
    [site] = place.glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (site / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    program = place / "bin" / "banger"
    code = "from banger_core.__main__ import main; main()"
    program.write_text(f"#!{place}/bin/python\n{code}\n")
    program.chmod(0o755)
    for kind in ("STATE", "CACHE", "CONFIG", "RUNTIME"):
        monkeypatch.setenv(f"BANGER_{kind}_DIR", str(tmp_path / kind.lower()))
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    assert sys.prefix != str(place)


def test_your_own_source_is_made_as_the_tutorial_says(fresh):
    told = commands("your-own-source.md")
    assert len(told) == 3
    for line in told:
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    listed = subprocess.run(["banger", "plugin", "list"], capture_output=True, check=True)
    assert b"my-source" in listed.stdout
