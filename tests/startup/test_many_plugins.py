"""Start-up does not grow with the number of plugins: the budgets hold with fifty more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from test_startup_budgets import BANNED, modules_of, place, scaled_best

from banger_core.scaffold.kinds import TEMPLATES
from banger_core.scaffold.render import render
from banger_core.testing.install import install_plugin

__all__ = ["place"]

MANY = 50
BUDGETS = [
    (("--version",), 25, 60),
    (("ssh", "web"), 25, 65),
    (("vm", "list"), 80, 180),
    (("vm", "list", "--json"), 80, 180),
    (("--help",), 80, 180),
]


@pytest.fixture(scope="module")
def crowded(place):
    """Fifty plugins of all kinds, as ``banger plugin new`` writes them, beside those there are."""
    site = place / "many"
    site.mkdir()
    kinds = list(TEMPLATES)
    for number in range(MANY):
        name = f"acme-{number}"
        for path, text in render(kinds[number % len(kinds)], name).items():
            if path.startswith("src/"):
                file = site / path.removeprefix("src/")
                file.parent.mkdir(exist_ok=True)
                file.write_text(text)
        install_plugin(site, name, module=f"acme_{number}.plugin")
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ['PYTHONPATH']}")
    rows = json.loads(_banger("plugin", "list", "--json").stdout)
    ours = [row["status"] for row in rows if re.match(r"acme-\d", row["name"])]
    assert ours == ["ok"] * MANY
    yield place
    patch.undo()


def _banger(*words):
    command = [sys.executable, "-m", "banger_core", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(("words", "budget", "_"), BUDGETS)
def test_cpu_time_with_many_plugins(crowded, words, budget, _):
    # What runpy costs is Python's, not ours
    budget += 4
    assert scaled_best([sys.executable, "-m", "banger_core", *words], budget) <= budget


@pytest.mark.parametrize(("words", "_", "most"), BUDGETS)
def test_modules_with_many_plugins(crowded, tmp_path, words, _, most):
    modules = modules_of(tmp_path / "modules", words)
    assert not BANNED & {name.partition(".")[0] for name in modules}
    assert not [name for name in modules if name.startswith("acme_")], "plugins are not imported"
    assert len(modules - modules_of(tmp_path / "bare", ())) <= most - 33


def test_commands_of_all_plugins_are_known(crowded):
    said = _banger("--help").stdout
    brought = re.findall(r"^\s+acme-\d+ ", said, re.MULTILINE)
    assert len(brought) == sum(
        list(TEMPLATES)[number % len(TEMPLATES)] == "command" for number in range(MANY)
    )


def test_one_more_import_for_each_kind_and_none_for_each_plugin(crowded, tmp_path):
    """A command of a plugin imports that plugin's command and no other plugin."""
    number = list(TEMPLATES).index("command")
    modules = modules_of(tmp_path / "modules", (f"acme-{number}", "list"))
    brought = {name.partition(".")[0] for name in modules if name.startswith("acme_")}
    assert brought == {f"acme_{number}"}
