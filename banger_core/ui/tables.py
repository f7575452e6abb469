"""Lists and details as aligned columns. No rich: ``vm list`` has 80 ms in all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from banger_core.ui.console import is_terminal, printable, styled, width

_GAP = 2

COLOURS = {
    "running": "green",
    "pass": "green",
    "ok": "green",
    "starting": "yellow",
    "stopping": "yellow",
    "creating": "yellow",
    "deleting": "yellow",
    "paused": "yellow",
    "warn": "yellow",
    "stopped": "dim",
    "disabled": "dim",
    "failed": "red",
    "fail": "red",
    "broken": "red",
    "incompatible": "red",
}
"""How words that say a state are coloured."""


def show_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table to stdout. On a terminal the last column is cut to fit; elsewhere nothing
    is, so that programs like ``awk`` get everything.
    """
    cells = [[printable(cell) or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    _write_row([name.upper() for name in head], widths, "bold")
    for row in cells:
        _write_row(row, widths, "")


def repeat_table(head: Sequence[str], rows: Callable[[], Iterable[Sequence[str]]]) -> None:
    """Write a table to a terminal again and again, each time in the place of the one before.
    ``rows`` takes the time between two of them; its exceptions end this.
    """
    height = 0
    while True:
        found = list(rows())
        if height:
            # Up to where the table began, and nothing left of it (ECMA-48: CPL, ED)
            sys.stdout.write(f"\x1b[{height}F\x1b[J")
        show_table(head, found)
        sys.stdout.flush()
        height = 1 + len(found)


def show_details(pairs: Mapping[str, str | Sequence[str]]) -> None:
    """Write names and values below each other to stdout; several values of one name, too."""
    longest = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        lines = [value] if isinstance(value, str) else value or ["-"]
        for index, line in enumerate(lines):
            label = f"{'' if index else name:<{longest + _GAP}}"
            shown = styled_state(printable(line))
            sys.stdout.write(styled(label, "bold", sys.stdout) + shown + "\n")


def styled_state(text: str) -> str:
    """Colour ``text`` when it is a word that says a state."""
    style = COLOURS.get(text.lower())
    return styled(text, style, sys.stdout) if style else text


def _write_row(row: Sequence[str], widths: Sequence[int], style: str) -> None:
    room = width() if is_terminal(sys.stdout) else sys.maxsize
    parts = []
    for index, (cell, wide) in enumerate(zip(row, widths, strict=True)):
        last = index == len(row) - 1
        shown = _cut(cell, room) if last else cell
        coloured = styled(shown, style, sys.stdout) if style else styled_state(shown)
        parts.append(coloured + ("" if last else " " * (wide - len(cell) + _GAP)))
        room -= wide + _GAP
    sys.stdout.write("".join(parts) + "\n")


def _cut(text: str, room: int) -> str:
    return text if len(text) <= max(room, 8) else text[: max(room, 8) - 1] + "…"
