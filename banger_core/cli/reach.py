"""``banger ssh``, ``vm ssh`` and ``vm exec``, when the daemon has to be asked.

For a VM with a note, ``__main__`` has done all this already, without typer.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from banger_core.cli.ended import connection_lost
from banger_core.cli.link import fetch
from banger_core.cli.options import Entrypoint, Terminal, User, VmRef
from banger_core.client.notes import read_note
from banger_core.client.process import become
from banger_core.client.session import Session, as_user, check_directory
from banger_core.client.sshwords import reaching, split_options
from banger_core.errors import UsageProblem

Command = Annotated[list[str], typer.Argument(metavar="[--] COMMAND…", show_default=False)]


def ssh(
    reference: VmRef,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[ARGS]…", help="For ssh: options, or a command.", show_default=False
        ),
    ] = [],  # noqa: B006  (typer reads defaults, nobody writes them)
    user: User = "",
) -> None:
    """Open a shell in a machine.

    This is OpenSSH with the machine's keys and address; what follows the machine is given to it
    as it is.
    """
    user, words = _our_options(user, arguments)
    words = without_dashes(words)
    # Another user is somebody whom banger's own server knows; the image's may not
    login = not user
    if user:
        prefix = as_user(user)
        options, command = split_options(words)
        # Without a command it is a shell, for which ssh would have asked for a terminal
        terminal = ["-t"] if not command and os.isatty(0) else []
        words = [*terminal, *options, " ".join([prefix, *command])]
    become(reaching(read_note(reference, login=login) or _argv(reference, login=login), words))


def _our_options(user: str, words: list[str]) -> tuple[str, list[str]]:
    """Read banger's own options where they stand after the machine; returns the user, and the
    words that are for ssh, which has no long options.
    """
    while words and words[0].startswith("--") and words[0] != "--":
        option, given, value = words[0].partition("=")
        if option != "--user":
            raise UsageProblem(
                f"no such option: {option}",
                cause="what follows the machine is --user, options of ssh (-L, -v …), or a command",
                hints=["banger vm ssh --help", "man ssh"],
            )
        words = words[1:]
        if not given:
            value, words = "".join(words[:1]), words[1:]
        if not value:
            raise UsageProblem(
                "option --user needs a value",
                cause="it is a user's name or number",
                hints=["--user 1000"],
            )
        user = value
    return user, words


def execute(
    reference: VmRef,
    command: Command = [],  # noqa: B006  (typer reads defaults, nobody writes them)
    tty: Terminal = None,
    user: User = "",
    entrypoint: Entrypoint = False,
    workdir: Annotated[
        str, typer.Option("--workdir", "-w", metavar="DIR", help="Where to run it.")
    ] = "",
) -> int:
    """Run a command in a machine.

    Its input, output and exit status are the command's, and Ctrl-C goes to it.
    """
    words = without_dashes(command)
    if not words and not entrypoint:
        raise UsageProblem(
            "missing argument '[--] COMMAND…'",
            cause="a command for the machine stands there",
            hints=["banger vm exec --help", f"banger ssh {reference}"],
        )
    if workdir:
        check_directory(workdir, "--workdir")
    argv = read_note(reference) or _argv(reference)
    session = Session(argv, words, pty=tty, user=user, entrypoint=entrypoint, directory=workdir)
    ended = session.run()
    return connection_lost(reference, ended) if ended.lost else ended.status


def without_dashes(words: list[str]) -> list[str]:
    """Return ``words`` without a leading ``--``."""
    return words[1:] if words[:1] == ["--"] else words


def _argv(reference: str, *, login: bool = False) -> list[str]:
    target = fetch("vms", reference, "ssh")
    argv: list[str] = (login and target["shell"]) or target["argv"]
    return argv
