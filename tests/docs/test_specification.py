"""Every promise names tests, and code, that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`((?:tests|plugins|bench)/[\w/]+\.py)(?:::(test_\w+))?`")
CODE = re.compile(r"`((?:banger_core|plugins)/[\w/]+\.py)`")
HEADS = ("| promise", "| guaranteed", "|---", "| whom")


def rows(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line for line in lines if not line.startswith(HEADS)]


def named_in(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def shown(cell):
    """The tests and benchmarks in the last cell of a row: each must be there."""
    named = NAMED.findall(cell)
    for file, test in named:
        assert (ROOT / file).is_file(), file
        assert test in named_in(file) if test else file.startswith("bench/"), (file, test)
    return named


def test_each_promise_names_what_shows_it():
    promises = rows("SPECIFICATION.md")
    assert len(promises) > 20
    for promise in promises:
        assert shown(promise.rsplit("|", 2)[1]), promise


def test_each_guarantee_names_its_code_and_a_test():
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    guarantees = [row for row in rows("docs/security.md") if row.count("|") == 4]
    assert len(guarantees) > 35
    for guarantee in guarantees:
        _, what, by, tests, _ = guarantee.split("|")
        files = CODE.findall(by)
        assert files, what
        for file in files:
            assert (ROOT / file).is_file(), file
        assert shown(tests), what
    assert "## What is not guaranteed" in text
