"""The reference is made from the tree of commands, and the tree keeps to the house."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from banger_core.cli.app import MEMBERS, command
from banger_core.cli.group import Group, Noun

ROOT = Path(__file__).parents[3]


GENERATORS = ["generate_cli.py", "generate_man.py"]
MANUAL = ROOT / "docs" / "man" / "banger.1"


@pytest.mark.parametrize("name", GENERATORS)
def test_the_page_is_up_to_date(home, name):
    subprocess.run([sys.executable, ROOT / "scripts" / name, "--check"], check=True)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_stale_page_is_found(home, tmp_path, name):
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    script = tmp_path / "scripts" / name
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"out of date" in done.stderr


def test_the_manual_has_every_command():
    text = MANUAL.read_text()
    root = command()
    for path, _ in leaves(root, typer.Context(root, info_name="banger")):
        assert f'.SS "{path} '.replace("-", "\\-") in text, path


@pytest.mark.parametrize(
    "words", [["man", "--warnings", "-l"], ["groff", "-man", "-ww", "-Tutf8", "-z"]]
)
def test_roff_has_nothing_to_complain_about(words):
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not here")
    done = subprocess.run([*words, MANUAL], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def leaves(made, context):
    for name in made.list_commands(context):
        below = made.get_command(context, name)
        inner = typer.Context(below, info_name=name, parent=context)
        if isinstance(below, Group):
            yield from leaves(below, inner)
        else:
            yield inner.command_path, below


def test_every_list_and_show_speaks_json():
    root = command()
    found = dict(leaves(root, typer.Context(root, info_name="banger")))
    assert len(found) > 25
    for path, made in found.items():
        if path.split()[-1] in ("list", "show", "status", "ps", "doctor", "version"):
            assert any("--json" in param.opts for param in made.params), path
        assert made.help, path


def test_the_table_says_what_the_nouns_say():
    for name, member in MEMBERS.items():
        module, _, attribute = member.target.partition(":")
        target = getattr(__import__(module, fromlist=[attribute]), attribute)
        if isinstance(target, Noun):
            assert (target.name, target.summary) == (name, member.summary)
        else:
            assert target.__doc__.partition("\n")[0].rstrip(".")
