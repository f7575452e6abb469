"""Every promise names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_each_promise_names_a_test_that_exists():
    text = (ROOT / "SPECIFICATION.md").read_text(encoding="utf-8")
    promises = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert promises
    for promise in promises:
        named = NAMED.findall(promise)
        assert named, promise
        for file, test in named:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert test in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, test
