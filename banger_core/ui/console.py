"""Writing lines: to stdout what was asked for, to stderr what goes on meanwhile."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}


def say(line: str) -> None:
    """Write one line of data to stdout."""
    sys.stdout.write(f"{printable(line)}\n")


def tell(line: str) -> None:
    """Write one line of talk to stderr, if anyone is there to read it."""
    talk(f"{printable(line)}\n")


def talk(text: str) -> None:
    """Write ``text`` to stderr as it stands, if anyone is there to read it."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        # As when the terminal window was closed: what is being done must go on
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def printable(text: str) -> str:
    r"""Return ``text`` with control characters as ``\\x..``, so that nothing from a guest, image
    or server can move the cursor, retitle the terminal or break a line.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def styled(text: str, style: str, stream: TextIO) -> str:
    """Return ``text`` in a style (``bold dim red green yellow blue``), or as it is when
    ``stream`` shows no colours.
    """
    if not text or not shows_colours(stream):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def shows_colours(stream: TextIO) -> bool:
    """Say whether ``stream`` is a terminal that may be coloured (https://no-color.org)."""
    return (
        is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def is_terminal(stream: TextIO) -> bool:
    """Say whether a person looks at ``stream`` directly."""
    return not stream.closed and stream.isatty()


def width() -> int:
    """How many columns stdout has: COLUMNS, else the terminal's, else 80."""
    chosen = os.environ.get("COLUMNS", "")
    if chosen.isdecimal() and int(chosen):
        return int(chosen)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
