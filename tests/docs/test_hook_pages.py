"""Each kind of thing that a plugin can declare has a page, whose code is code that is tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from page_blocks import to_run

from banger_core.plugins.kinds import KINDS
from banger_core.scaffold.kinds import TEMPLATES
from banger_core.scaffold.render import render
from banger_core.testing.install import install_plugin

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "hooks"
SECTIONS = ["## Write it", "## Test it", "## What is asked"]
INCLUDED = re.compile(r"```\{literalinclude\} (\S+)\n")
SAMPLES = ROOT / "build" / "samples"
TESTED = ("banger_core/testing/fakes/", "examples/", "plugins/", "tests/")


def page_of(kind):
    """The one page that leads to the reference of a hook."""
    end = f"Reference: [`{kind.hook}`](../reference/hooks.md#{kind.hook}).\n"
    (page,) = (page for page in PAGES.glob("*.md") if page.read_text().endswith(end))
    return page


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
def test_each_kind_has_a_page_that_says_all_of_it(kind):
    page = page_of(kind)
    text = page.read_text()
    places = [text.index(f"\n{section}\n") for section in SECTIONS]
    assert places == sorted(places)
    assert text.startswith(("# A", "# Settings\n"))
    when = text[text.index("\n\n") : places[0]]
    assert len(when.split()) > 20, "it says when to use it"
    asked = text[places[2] :].split()
    assert len(asked) > 40, "it says what the contract asks"
    assert "class Test" not in text, "code is included, not copied"
    assert "```python" not in text, "code is included, not copied"


@pytest.mark.parametrize("page", sorted(PAGES.glob("[!i]*.md")), ids=lambda page: page.stem)
def test_code_on_the_pages_is_code_that_is_tested(page):
    files = [(PAGES / name).resolve() for name in INCLUDED.findall(page.read_text())]
    tests = [file for file in files if "tests" in file.parts]
    assert tests
    assert len(files) > len(tests)
    for file in files:
        if file.is_relative_to(SAMPLES):
            kind, _, path = str(file.relative_to(SAMPLES)).partition("/")
            assert path in render(kind, "acme")
        else:
            assert file.is_file()
            assert str(file.relative_to(ROOT)).startswith(TESTED)


@pytest.mark.parametrize("kind", TEMPLATES)
def test_all_that_is_written_for_a_kind_is_on_its_page(kind):
    text = (PAGES / f"{kind}.md").read_text()
    assert f"$ banger plugin new {kind} acme\n" in text
    written = {path for path in render(kind, "acme") if path.endswith(".py")}
    for path in written - {"src/acme/__init__.py"}:
        assert f"../../build/samples/{kind}/{path}\n" in text


def test_all_pages_are_listed():
    listed = (PAGES / "index.md").read_text().split("\n\n")[-1].split()[:-1]
    assert {"index", *listed} == {page.stem for page in PAGES.glob("*.md")}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_what_is_written_is_checked_as_the_page_says(kind, tmp_path, banger_paths):
    told = [step.command for step in to_run(f"hooks/{kind}.md") if " check " in step.command]
    if not told:
        assert "banger plugin check" in (PAGES / f"{kind}.md").read_text(), "it says why not"
        return
    for path, text in render(kind, "acme").items():
        if path.startswith("src/"):
            file = tmp_path / path.removeprefix("src/")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
    install_plugin(tmp_path, "acme", module="acme.plugin")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "BANGER_PLUGINS": "acme"}
    # With --host it is the same and more
    words = [sys.executable, "-m", "banger_core", *told[-1].split()[1:]]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
