"""``WWW-Authenticate``: what a server wants to know before it answers (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LENGTH_MAX = 8192
_COUNT_MAX = 16

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 (the grammar's word for a word)
_PARAMETER = re.compile(
    rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))(?=[ \t]*(?:,|$))'
)
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
_TOKEN68 = re.compile(r"[0-9A-Za-z._~+/-]+=*(?=[ \t]*(?:,|$))")
_GAP = re.compile(r"[ \t,]*")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate: its ``scheme`` and the names of its parameters in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Return the challenges in the values of the headers, in order.

    Of what follows the grammar no more nothing is understood, and at most 16 challenges and
    8 KiB are read. A parameter that is given twice counts as it was given first.
    """
    found: list[Challenge] = []
    for value in values:
        found += _parse(value[:_LENGTH_MAX])
    return found[:_COUNT_MAX]


def _parse(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    parameters: dict[str, str] = {}
    at = _past(_GAP, text, 0)
    while at < len(text) and len(found) <= _COUNT_MAX:
        if found and (match := _PARAMETER.match(text, at)):
            quoted, plain = match[2], match[3]
            value = plain if quoted is None else _ESCAPE.sub(r"\1", quoted)
            parameters.setdefault(match[1].lower(), value)
        elif match := _SCHEME.match(text, at):
            parameters = {}
            found.append(Challenge(match[1].lower(), parameters))
            after = _past(_GAP, text, match.end())
            # "Negotiate dGVzdA==": one word that is no parameter; but "Basic, Bearer x=y" is two
            word = None if "," in text[match.end() : after] else _TOKEN68.match(text, after)
            if word and not _PARAMETER.match(text, after):
                at = _past(_GAP, text, word.end())
                continue
        else:
            return found
        at = _past(_GAP, text, match.end())
    return found


def _past(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
