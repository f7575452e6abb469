"""What can follow on the command line: the half of completion that answers the shell."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from banger_core.cli.app import PROGRAM, command
from banger_core.errors import BangerError

_FILES = {"file", "dir"}


def complete(words: Sequence[str]) -> int:
    """Write what the last of ``words`` (after ``banger``) can become, a line each: the value, a
    tab, and a summary. Nothing is written where a file belongs, or where nothing fits.
    """
    # A tab or a line's end in a name would be taken for ours
    lines = [f"{value}\t{about}\n" for value, about in _found(words) if value.isprintable()]
    sys.stdout.write("".join(lines))
    return 0


def _found(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    from typer._click.shell_completion import _resolve_context, _resolve_incomplete

    before, word = list(words[:-1]), words[-1] if words else ""
    try:
        context = _resolve_context(command(), {}, PROGRAM, before)
        place, part = _resolve_incomplete(context, before, word)
        items = place.shell_complete(context, part)
    except BangerError:
        return
    # What stands before the value in one word with it is not the shell's to replace
    joined = word.removesuffix(part) if word.startswith("--") and "=" in word else ""
    for item in items:
        if item.type not in _FILES:
            yield joined + item.value, _summary(item)


def _summary(item: Any) -> str:
    return " ".join((item.help or "").split())
