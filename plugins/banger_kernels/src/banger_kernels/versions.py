"""Which of two versions of a kernel is the later one."""

from __future__ import annotations

import re

_PART = re.compile(r"[0-9]+|[A-Za-z]+|~")
_END = (1, 0, "")


def order(version: str) -> list[tuple[int, int, str]]:
    """Return a key to sort by: numbers as numbers, ``-rc`` and ``~`` before what has neither.

    >>> sorted(["6.10", "6.9-rc2", "6.9.1", "6.9"], key=order)
    ['6.9-rc2', '6.9', '6.9.1', '6.10']
    """
    key = []
    for part in _PART.findall(version):
        if part in ("rc", "~"):
            key.append((0, 0, ""))
        elif part.isdecimal():
            key.append((3, int(part[:30]), ""))
        else:
            key.append((2, 0, part))
    return [*key, _END]
