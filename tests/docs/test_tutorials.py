"""What the tutorials tell people to type is typed, and works."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv

import pytest
from page_blocks import blocks_of, to_run

NOT_RUN = {
    "banger ssh config --install": "it writes into your own ~/.ssh/config",
    "banger image pull 'debian://bookworm?include=git,make' --name dev": "it takes minutes",
    "banger vm run --rm python:3.12-slim -- python -V": "it needs a registry of others",
}
"""By their first command, the blocks of tutorials that no test runs, and why: the pages say so."""


@pytest.mark.parametrize("page", ["first-vm.md", "your-own-source.md"])
def test_what_is_not_run_is_known(page):
    left = {block.steps[0].command: block.why_not for block in blocks_of(page) if block.why_not}
    assert left == (NOT_RUN if page == "first-vm.md" else {})
    assert to_run(page)


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
    told = to_run("your-own-source.md")
    assert len(told) == 3
    for step in told:
        done = subprocess.run(
            ["bash", "-c", step.command], capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, f"{step.command}\n{done.stdout}{done.stderr}"
    listed = subprocess.run(["banger", "plugin", "list"], capture_output=True, check=True)
    assert b"my-source" in listed.stdout
