"""Failures, for people and for programs."""

from __future__ import annotations

import json
import sys

from banger_core.errors import BangerError
from banger_core.ui.console import printable, styled, talk


def show_error(problem: BangerError, *, as_json: bool = False) -> None:
    """Write a failure to stderr: ``error:``, ``cause:`` and ``try:`` lines.

    With ``as_json`` it is one JSON object on one line, the last line of stderr. stdout then
    stays empty or holds one whole document: a program reads stdout when the exit status is 0,
    and the last line of stderr when it is not.
    """
    if as_json:
        talk(json.dumps(problem.to_dict()) + "\n")
        return
    _line("error:", "red", problem.summary)
    if problem.cause:
        _line("cause:", "yellow", problem.cause)
    for hint in problem.tries:
        _line("try:  ", "blue", hint)


def _line(label: str, style: str, text: str) -> None:
    # A cause may quote a program's output: its lines stay lines, aligned below each other
    first, *more = [printable(line) for line in text.splitlines() or [""]]
    talk(f"{styled(label, style, sys.stderr)} {first}\n")
    for line in more:
        talk(f"       {line}\n")
