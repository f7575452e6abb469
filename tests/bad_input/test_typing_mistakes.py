"""What a newcomer types."""

from __future__ import annotations

import json
import os

import pytest

from banger_core.client.session import COMMAND_MAX


@pytest.mark.parametrize(
    ("words", "error", "hints"),
    [
        (("run",), "no banger command named 'run'", ("banger vm run", "banger --help")),
        (("start",), "no banger command named 'start'", ("banger vm start", "banger daemon start")),
        (("images",), "no banger command named 'images'", ("did you mean image?",)),
        (("vm", "rn"), "no banger vm command named 'rn'", ("did you mean run?",)),
        (("vm", "start"), "missing argument 'VM…'", ("banger vm start --help",)),
        (("vm", "exec", "web"), "missing argument", ("banger vm exec --help",)),
        (("vm", "run", "--mem", "1G"), "no such option: --mem", ("did you mean --memory?",)),
        (
            ("vm", "run", "uname", "-a"),
            "no such option: -a",
            ("banger vm run -- uname -a", "banger vm run --help"),
        ),
        (
            ("vm", "run", "--rm", "--name", "x", "ls", "--color", "-la"),
            "no such option: --color",
            ("banger vm run --rm --name x -- ls --color -la",),
        ),
        (("vm", "run", "--frob"), "no such option: --frob", ("banger vm run --help",)),
        (("vm", "run", "--"), "there is no command after --", ("leave -- away for a shell",)),
        (("vm", "run", "--rm", "-d"), "--rm and -d exclude each other", ("leave one",)),
        (
            ("vm", "run", "fake://small", "uname", "-a"),
            "'uname' is one argument too many",
            ("banger vm run fake://small -- uname -a",),
        ),
        (
            ("vm", "run", "fake://small", "--name", "x", "--rm", "ls", "-d", "a b"),
            "'ls' is one argument too many",
            ("banger vm run fake://small --name x --rm -- ls -d 'a b'",),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistyped_commands(house, words, error, hints):
    failure = house.fails(*words, code=2)
    assert error in failure.error
    for hint in hints:
        assert any(given.startswith(hint) for given in failure.hints), failure.hints
    # No daemon was started for it
    assert not house.state.exists()


@pytest.mark.parametrize("words", [("--name", "web", "--zz"), ("-q", "--zz"), ("--zz",)])
def test_no_command_is_seen_where_there_is_none(house, words):
    assert house.fails("vm", "run", *words, code=2).hints == ("banger vm run --help",)


@pytest.fixture
def recorder(tmp_path):
    """A directory with an ``ssh`` that writes its arguments to the file ``said``."""
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nfor word; do echo "$word"; done > {tmp_path}/said\n')
    program.chmod(0o700)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "remote"),
    [
        (("uname",), "uname"),
        (("--", "uname"), "uname"),
        (("ls", "-la", "--color"), "ls -la '--color'"),
        (("--", "sh", "-c", "echo a  b"), "sh -c 'echo a  b'"),
    ],
)
def test_exec_takes_a_command_with_and_without_dashes(lived_in, recorder, words, remote):
    """Options after the command are the command's."""
    lived_in.with_env(PATH=f"{recorder}:{os.environ['PATH']}").ok("vm", "exec", "web", *words)
    last = (recorder / "said").read_text().splitlines()[-1]
    assert last.split(" ", 2)[0] == "banger-exec"
    assert last.split(" ", 2)[2].replace("'", "") == remote.replace("'", "")


def test_exec_of_a_machine_that_hangs_up(lived_in):
    failure = lived_in.fails("vm", "exec", "web", "uname", code=255)
    assert failure.error == "the connection to web was lost"
    assert failure.hints == ("banger vm show web", "banger vm logs web")


@pytest.mark.parametrize("words", [("exec", "web", "--"), ("exec", "web"), ("run", "--")])
def test_command_too_long_for_a_guest(lived_in, recorder, words):
    """The guest's SSH server would hang up without a word: refused before there is anything."""
    seen = lived_in.with_env(PATH=f"{recorder}:{os.environ['PATH']}")
    failure = seen.fails("vm", *words, "echo", "x" * COMMAND_MAX, code=2)
    assert failure.error == f"the command is too long: {COMMAND_MAX + 5} bytes"
    assert str(COMMAND_MAX) in failure.cause
    assert not (recorder / "said").exists()
    assert [vm["name"] for vm in json.loads(lived_in.ok("vm", "list", "--json"))] == ["web"]
    if words[0] == "exec":
        seen.ok("vm", *words, "echo", "x" * (COMMAND_MAX - 5))
