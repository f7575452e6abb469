"""``banger plugin new``: write a package to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from banger_core.scaffold.kinds import TEMPLATES
from banger_core.ui.console import say, tell


def _kinds(incomplete: str) -> list[str]:
    return [kind for kind in TEMPLATES if kind.startswith(incomplete)]


def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help=f"One of: {', '.join(TEMPLATES)}.",
            show_default=False,
            autocompletion=_kinds,
        ),
    ],
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Of the distribution and of what it declares: lower-case words joined by '-'.",
            show_default=False,
        ),
    ],
    directory: Annotated[
        Path,
        typer.Option("--directory", "-d", metavar="DIR", help="Where to make the directory NAME."),
    ] = Path(),
) -> None:
    """Write a new plugin, tests and all, into the directory NAME.

    Its tests pass as they are: change one thing after the other, and run them again.
    """
    from banger_core.scaffold.render import write_package

    made = write_package(kind, name, directory)
    say(str(made))
    place = shlex.quote(str(made))
    tell(f"try: banger plugin install --editable {place}")
    tell(f"     {TEMPLATES[kind].check_words(name)}")
    tell(f"     cd {place} && pip install --group test && pytest")
