"""Versions of Debian packages, in their order (deb-version(7))."""

from __future__ import annotations

import re

_PARTS = re.compile(r"(\D*)(\d*)")


def version_key(version: str) -> tuple[object, ...]:
    """Return what sorts ``version`` among others: epoch, upstream version, revision.

    Text and numbers alternate; in text ``~`` sorts before the end, letters before the rest.
    """
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return int(epoch), _key(upstream if dash else rest), _key(revision if dash else "")


_Part = tuple[tuple[int, ...], int]
_NOTHING: _Part = ((0,), 0)


def _key(text: str) -> tuple[_Part, ...]:
    parts = [((*map(_weight, word), 0), int(number or 0)) for word, number in _PARTS.findall(text)]
    # A missing number counts as zero, and a missing revision as "0": drop what says nothing
    while parts and parts[-1] == _NOTHING:
        parts.pop()
    return (*parts, _NOTHING)


def _weight(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256
