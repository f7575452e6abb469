"""Commands that plugins bring: as good as the core's own, and alone when they fail."""

from __future__ import annotations

import os

import pytest

from banger_core import declare
from banger_core.cli.app import MEMBERS
from banger_core.errors import ExitCode
from banger_core.testing.install import install_plugin

PLUGIN = """\
from banger_core.api import Command, hookimpl
BANGER_API = 1
@hookimpl
def banger_commands():
    yield Command(name="{name}", summary="{name} of ACME", load="{load}")
"""

CODE = """\
import sys
from typing import Annotated

import typer

from banger_core.api import AsJson, Noun, NotFound, ask, show_json, show_table, tell, verb

noun = Noun("fleet", "The fleet")

@verb(noun, "list")
def list_all(as_json: AsJson = False) -> None:
    '''List all.'''
    show_json(["a"]) if as_json else show_table(("name",), [("a",)])

@verb(noun, "ask")
def ask_service(word: str) -> None:
    '''Ask the service.'''
    show_json(ask("fleet", "echo", word=word))

app = typer.Typer()

@app.command()
def first(number: int) -> None:
    '''The first.'''
    print(number + 1)

@app.command()
def second() -> None:
    '''The second.'''
    raise typer.Exit(7)

def function(name: Annotated[str, typer.Option("--name")] = "x") -> int:
    '''One function.'''
    print(name)
    return 3

def fails() -> None:
    '''Fails.'''
    raise KeyError("lost")

def refuses() -> None:
    '''Refuses.'''
    raise NotFound("truck", "t1", ["t2"])
"""


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """Installs plugins with one command each, and the code behind them."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "acme_code.py").write_text(CODE)
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{site}:{before}" if before else str(site))

    def install(name, load="acme_code:noun", plugin="acme", **more):
        return install_plugin(site, plugin, source=PLUGIN.format(name=name, load=load), **more)

    return install


def test_own_commands_cannot_be_replaced(cli, acme):
    assert frozenset(MEMBERS) == declare.OWN_COMMANDS
    with pytest.raises(ValueError, match="one of banger's own"):
        declare.Command(name="vm", summary="Mine", load="a:b")


def test_noun_is_listed_and_used(cli, acme):
    acme("fleet")
    assert "fleet of ACME" in cli("--help").stdout
    assert cli("fleet", "list", "--json").stdout == '[\n  "a"\n]\n'
    assert cli("fleet", "list").stdout == "NAME\na\n"


def test_help_of_all_imports_nothing_of_the_plugin(cli, acme):
    acme("fleet", load="no_such_module:noun")
    assert "fleet of ACME" in cli("--help").stdout


def test_application_of_typer(cli, acme):
    acme("trucks", load="acme_code:app")
    assert cli("trucks", "first", "4").stdout == "5\n"
    assert cli("trucks", "second").returncode == 7
    shown = cli("trucks", "--help").stdout
    assert "second" in shown
    assert "completion" not in shown
    wrong = cli("trucks", "first", "four")
    assert wrong.returncode == ExitCode.USAGE


def test_function_is_one_command_with_its_own_status(cli, acme):
    acme("truck", load="acme_code:function")
    done = cli("truck", "--name", "t1")
    assert (done.stdout, done.returncode) == ("t1\n", 3)


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ("acme_code:fails", "KeyError: 'lost'"),
        ("acme_code:absent", "load names acme_code:absent, and acme_code has no absent"),
        ("no_such_module:noun", "there is no module no_such_module"),
    ],
)
def test_defect_names_the_plugin(cli, acme, load, said):
    acme("fleet", load=load)
    done = cli("fleet")
    assert done.returncode == ExitCode.PLUGIN
    assert "plugin 'acme' (acme 1.0) failed in" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert cli("version").returncode == 0


def test_expected_failure_is_shown_as_any_other(cli, acme):
    acme("fleet", load="acme_code:refuses")
    done = cli("fleet")
    assert done.returncode == ExitCode.USAGE
    assert "error: no truck named 't1'" in done.stderr


def test_name_that_two_plugins_declare(cli, acme):
    acme("fleet")
    acme("fleet", plugin="other")
    done = cli("fleet", "list")
    assert done.returncode == ExitCode.FAILED
    assert "acme (acme 1.0) and other (other 1.0)" in done.stderr
    chosen = cli("fleet", "list", BANGER_DISABLE="other")
    assert chosen.stdout == "NAME\na\n"


def test_disabled_plugin_brings_no_command(cli, acme):
    acme("fleet")
    assert cli("--no-plugins", "fleet").returncode == ExitCode.USAGE
    assert "fleet" not in cli("--help", BANGER_PLUGINS="").stdout


def test_typing_mistake_finds_it_though_another_is_broken(cli, acme):
    acme("fleet")
    acme("ghost", load="no_such_module:noun", plugin="ghost")
    done = cli("flet")
    assert "did you mean fleet?" in done.stderr


def test_service_is_asked_through_the_daemon(cli, acme, daemon):
    acme("fleet")
    daemon.answers["POST /v1/services/fleet/echo"] = lambda asked: asked.body
    assert cli("fleet", "ask", "hello").stdout == '{\n  "word": "hello"\n}\n'
    del daemon.answers["POST /v1/services/fleet/echo"]
    done = cli("fleet", "ask", "hello")
    assert "banger daemon stop, then run the command again" in done.stderr
