"""``banger ssh``, ``vm ssh`` and ``vm exec``, when the daemon has to be asked.

For a VM with a note, ``__main__`` has done all this already, without typer.
"""

from __future__ import annotations

from typing import Annotated

import typer

from banger_core.cli.ended import connection_lost
from banger_core.cli.link import fetch
from banger_core.cli.options import Terminal, VmRef
from banger_core.client.notes import read_note
from banger_core.client.process import become
from banger_core.client.session import Session


def ssh(
    reference: VmRef,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[ARGS]…", help="For ssh: options, or a command.", show_default=False
        ),
    ] = [],  # noqa: B006  (typer reads defaults, nobody writes them)
) -> None:
    """Open a shell in a machine.

    This is OpenSSH with the machine's keys and address; what follows the machine is given to it
    as it is.
    """
    become([*_argv(reference), *without_dashes(arguments)])


def execute(
    reference: VmRef,
    command: Annotated[list[str], typer.Argument(metavar="[--] COMMAND…", show_default=False)],
    tty: Terminal = None,
) -> int:
    """Run a command in a machine.

    Its input, output and exit status are the command's, and Ctrl-C goes to it.
    """
    argv = read_note(reference) or _argv(reference)
    ended = Session(argv, without_dashes(command), pty=tty).run()
    return connection_lost(reference, ended) if ended.lost else ended.status


def without_dashes(words: list[str]) -> list[str]:
    """Return ``words`` without a leading ``--``."""
    return words[1:] if words[:1] == ["--"] else words


def _argv(reference: str) -> list[str]:
    argv: list[str] = fetch("vms", reference, "ssh")["argv"]
    return argv
