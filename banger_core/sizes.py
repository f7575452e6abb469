"""Sizes as people write them. Standard library only: the CLI checks sizes before it asks."""

from __future__ import annotations

import re
from decimal import Decimal

from banger_core.errors import UsageProblem

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*(?:([KMGT])(?:I?B)?|B)?", re.ASCII)
_UNITS = ("", "K", "M", "G", "T")
_LARGEST = 2**63 - 1


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` means: ``512M``, ``8GiB``, ``1.5g``, ``4096``.

    K, M, G and T are powers of 1024, whether or not ``iB`` or ``B`` follows. Raises UsageProblem
    for anything else, for zero, for parts of a byte and for more than a file can hold.
    """
    found = _SIZE.fullmatch(text.strip().upper())
    if not found:
        raise _no_size(text)
    size = Decimal(found[1]) * 1024 ** _UNITS.index(found[2] or "")
    if size != int(size) or not 0 < size <= _LARGEST:
        raise _no_size(text)
    return int(size)


def format_size(size: int) -> str:
    """Return ``size`` bytes for people: ``8 GiB``, ``1.5 MiB``, ``17 B``.

    At most one decimal, so only round sizes come back unchanged from ``parse_size``.
    """
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(value, 1) < 1024:
            return _amount(value, unit)
        value /= 1024
    return _amount(value, "TiB")


def _amount(value: float, unit: str) -> str:
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def _no_size(text: str) -> UsageProblem:
    return UsageProblem(
        f"{text!r} is not a size",
        cause="a size is a number of bytes, or a number with K, M, G or T",
        hints=["for example 512M or 8GiB"],
    )
