"""What follows the host on a command line of ssh: its options, and the command.

On the start-up path of ``banger ssh``: imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # ``typing`` costs more than this module
if TYPE_CHECKING:
    from collections.abc import Sequence

_VALUED = "BbcDEeFIiJLlmOoPpQRSWw"
"""The options of ssh(1) that take a value."""

_FORWARDING = ("L", "R", "D", "w")
_CONFIGURED = ("localforward", "remoteforward", "dynamicforward", "tunnel")


def split_options(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split what follows the host on a command line of ssh: its options, and the command."""
    _, place = _read(words)
    dashes = words[place : place + 1] == ["--"]
    return list(words[:place]), list(words[place + dashes :])


def reaching(argv: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return the command line ``argv``, which ends with the host, with ``words`` after it.

    Ports that are forwarded get a connection of their own: on the shared one they would stay
    open after the command has ended, as long as the machine runs.
    """
    options, _ = _read(words)
    letters = {letter for letter, _ in options}
    forwards = bool(letters.intersection(_FORWARDING)) or any(
        letter == "o" and value.lower().lstrip().startswith(_CONFIGURED)
        for letter, value in options
    )
    # With -O somebody talks to the shared connection itself
    own = ["-S", "none"] if forwards and "O" not in letters else []
    return [argv[0], *own, *argv[1:], *words]


def _read(words: Sequence[str]) -> tuple[list[tuple[str, str]], int]:
    """Return the options (letter and value) and where they end."""
    found: list[tuple[str, str]] = []
    place = 0
    while place < len(words) and len(words[place]) > 1 and words[place][0] == "-":
        if words[place] == "--":
            break
        letters = words[place][1:]
        valued = next((at for at, letter in enumerate(letters) if letter in _VALUED), None)
        place += 1
        if valued is None:
            found += [(letter, "") for letter in letters]
            continue
        found += [(letter, "") for letter in letters[:valued]]
        # The value is the rest of the word, or else the next one
        value = letters[valued + 1 :]
        if not value:
            value = "".join(words[place : place + 1])
            place += 1
        found.append((letters[valued], value))
    return found, min(place, len(words))
