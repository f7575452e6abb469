"""Packages that ``banger plugin new`` writes. That their tests pass where they are installed is
shown in tests/packages.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from banger_core.errors import Conflict, HostNotReady, NotFound, UsageProblem
from banger_core.plugins.kinds import BY_HOOK
from banger_core.scaffold import render as scaffold
from banger_core.scaffold.kinds import TEMPLATES
from banger_core.scaffold.render import render, write_package

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """One package of every kind."""
    place = tmp_path_factory.mktemp("new")
    return {kind: write_package(kind, f"acme-{kind}", place) for kind in TEMPLATES}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_new_plugin_declares_what_it_is(packages, kind, fresh_registry, monkeypatch):
    package = packages[kind]
    monkeypatch.syspath_prepend(str(package / "src"))
    name = f"acme-{kind}"
    registry = fresh_registry(f"{name.replace('-', '_')}.plugin")
    (plugin,) = registry.plugins()
    assert (plugin.status, plugin.error) == ("ok", "")
    hook = TEMPLATES[kind].hook
    assert [item["name"] for item in plugin.declarations[hook]] == [name]
    assert getattr(registry, hook.removeprefix("banger_")).load(name)


@pytest.mark.parametrize("kind", TEMPLATES)
def test_the_package_names_its_entry_point_and_what_it_needs(packages, kind):
    project = tomllib.loads((packages[kind] / "pyproject.toml").read_text())["project"]
    name = f"acme-{kind}"
    assert project["name"] == name
    assert project["entry-points"]["banger"] == {name: f"{name.replace('-', '_')}.plugin"}
    assert project["dependencies"][0].startswith("banger>=")


def test_new_plugins_keep_the_rules_of_this_house(packages):
    sources = [str(package / "src") for package in packages.values()]
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for words in (["format", "--check"], ["check", "--ignore", "ARG002"]):
        found = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *config, *sources],
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stdout + found.stderr
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-namespace-packages", *sources],
        capture_output=True,
        text=True,
        check=False,
        cwd=packages["driver"].parent,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_declarations_import_nothing_but_the_api(packages):
    for package in packages.values():
        (plugin,) = package.glob("src/*/plugin.py")
        imports = [line for line in plugin.read_text().splitlines() if "import" in line.split()]
        doors = ("from __future__", "from collections.abc", "from banger_core.api")
        assert all(line.startswith(doors) for line in imports)


def test_every_kind_of_the_table_has_a_hook_and_templates():
    assert {template.hook for template in TEMPLATES.values()} <= set(BY_HOOK)
    made = Path(scaffold.__file__).parent / "templates"
    assert {place.name for place in made.iterdir()} == {*TEMPLATES, "common"}


@pytest.mark.parametrize(
    "name",
    [
        *("", "Upper", "two words", "-x", "x-", "../up", "a/b", "json", "class", "match", "banger"),
        *("ü", "x" * 41, "1st", "a_b", "x\n"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path, name):
    with pytest.raises(UsageProblem) as refused:
        write_package("driver", name, tmp_path)
    # What is offered instead is taken
    assert render("driver", refused.value.hints[0])
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_names_those_there_are(tmp_path):
    with pytest.raises(NotFound, match="'image-sauce'") as refused:
        render("image-sauce", "acme")
    assert "did you mean image-source?" in refused.value.hints


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "mine").touch()
    with pytest.raises(Conflict):
        write_package("driver", "acme", tmp_path)
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(Conflict):
        write_package("driver", "dangling", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"acme", "dangling"}


def test_a_package_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(HostNotReady, match="cannot be written"):
        write_package("driver", "acme", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_have_the_rights_that_the_user_gives_files(tmp_path):
    before = os.umask(0o027)
    try:
        made = write_package("event-sink", "acme", tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.stat().st_mode) == 0o750
    assert stat.S_IMODE((made / "README.md").stat().st_mode) == 0o640
