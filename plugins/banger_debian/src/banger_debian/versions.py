"""Versions of Debian packages, in their order (deb-version(7))."""

from __future__ import annotations

import re
from functools import cmp_to_key
from itertools import zip_longest

_PARTS = re.compile(r"(\D*)(\d*)")

_Part = tuple[tuple[int, ...], int]
# What ends before the other goes on as if with empty words and zeros
_NOTHING: _Part = ((0,), 0)


def compare_versions(one: str, other: str) -> int:
    """Return a negative number when ``one`` is older than ``other``, zero when they are equal.

    Epoch, upstream version and revision are compared in turn; in each, words and numbers alternate,
    and in words ``~`` sorts before the end, letters before everything else.
    """
    epoch, upstream, revision = _split(one)
    other_epoch, other_upstream, other_revision = _split(other)
    return (
        epoch - other_epoch
        or _compare(upstream, other_upstream)
        or _compare(revision, other_revision)
    )


version_key = cmp_to_key(compare_versions)
"""Makes a sort key of a version."""


def _split(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return int(epoch), upstream if dash else rest, revision if dash else ""


def _compare(one: str, other: str) -> int:
    for mine, theirs in zip_longest(_parts(one), _parts(other), fillvalue=_NOTHING):
        if mine != theirs:
            return -1 if mine < theirs else 1
    return 0


def _parts(text: str) -> list[_Part]:
    return [((*map(_weight, word), 0), int(number or 0)) for word, number in _PARTS.findall(text)]


def _weight(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256
