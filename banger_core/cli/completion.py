"""``banger completion``: a script for the shell."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

SCRIPTS = {"bash": "banger.bash", "zsh": "_banger", "fish": "banger.fish"}
"""The file of each shell in ``cli/shells``."""


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], typer.Argument(help="Which shell.", show_default=False)
    ],
) -> None:
    """Write a completion script for a shell to stdout.

    bash: banger completion bash > ~/.local/share/bash-completion/completions/banger
    zsh: banger completion zsh > _banger in a directory of $fpath
    fish: banger completion fish > ~/.config/fish/completions/banger.fish
    """
    from importlib.resources import files

    script = files("banger_core.cli.shells") / SCRIPTS[shell]
    sys.stdout.write(script.read_text(encoding="utf-8"))
