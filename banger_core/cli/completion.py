"""``banger completion``: a script for the shell."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from banger_core.cli.app import COMPLETION_VARIABLE, PROGRAM


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], typer.Argument(help="Which shell.", show_default=False)
    ],
) -> None:
    """Write a completion script for a shell to stdout.

    bash: banger completion bash > ~/.local/share/bash-completion/completions/banger
    """
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE, shell=shell)
    sys.stdout.write(script + "\n")
