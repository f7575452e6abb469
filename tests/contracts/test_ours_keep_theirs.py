"""Every plugin of this repository runs the suite of everything that it declares."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from banger_core.declare import KernelProvider
from banger_core.hookspecs import Hooks
from banger_core.plugins.kinds import BY_HOOK
from banger_core.testing.registry import registry_of
from banger_core.testing.suites import SUITES

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parents[2] for path in ROOT.glob("*/*/src/*/plugin.py"))


def suites_run(place):
    """The names of the suites that the tests below ``place`` derive from."""
    found = set()
    for file in place.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found |= {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    return found


def suites_wanted(package, monkeypatch):
    (module,) = (package / "src").glob("*/plugin.py")
    monkeypatch.syspath_prepend(str(package / "src"))
    registry = registry_of(f"{module.parent.name}.plugin")
    for catalogue in registry.catalogues():
        for offer in catalogue.offers():
            if isinstance(offer.declaration, KernelProvider) and offer.declaration.catalogue:
                yield "KernelCatalogueContract"
            else:
                yield SUITES[catalogue.kind.hook].__name__


@pytest.mark.parametrize("package", PLUGINS, ids=[package.name for package in PLUGINS])
def test_the_suite_of_every_declaration_is_run(package, monkeypatch):
    missing = set(suites_wanted(package, monkeypatch)) - suites_run(package / "tests")
    assert not missing, f"derive from {', '.join(sorted(missing))} in the tests of {package.name}"


def test_every_kind_has_a_suite():
    assert set(SUITES) == set(BY_HOOK)
    assert list(BY_HOOK) == [name for name in vars(Hooks) if name.startswith("banger_")]


@pytest.mark.parametrize("name", ["bridge", "dns", "ssh", "user-network"])
def test_they_pass_where_they_are_installed(banger_paths, name):
    words = [sys.executable, "-m", "banger_core", "plugin", "check", name, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {each["level"] for each in json.loads(done.stdout)} <= {"pass", "warn"}
