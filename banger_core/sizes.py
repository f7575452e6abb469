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

    K, M, G and T are powers of 1024, whether or not ``iB`` or ``B`` follows; what is left of a
    byte is dropped, so that ``1.1 KiB`` can be given as it was shown. Raises UsageProblem for
    anything else, for zero and for more than a file can hold.
    """
    found = _SIZE.fullmatch(text.strip().upper())
    if not found:
        raise _no_size(text)
    size = int(Decimal(found[1]) * 1024 ** _UNITS.index(found[2] or ""))
    if not 0 < size <= _LARGEST or ("." in found[1] and not found[2]):
        raise _no_size(text)
    return size


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


def size_argument(size: int) -> str:
    """Return ``size`` bytes, rounded up to whole MiB, as an option takes them: ``8G``, ``301M``."""
    mebibytes = -(-size >> 20)
    return f"{mebibytes}M" if mebibytes % 1024 else f"{mebibytes // 1024}G"


def _amount(value: float, unit: str) -> str:
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def _no_size(text: str) -> UsageProblem:
    return UsageProblem(
        f"{text!r} is not a size",
        cause="a size is a number of bytes, or a number with K, M, G or T",
        hints=["for example 512M or 8G"],
    )
