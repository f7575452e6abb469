"""zstd, by whichever library this Python has."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from banger_core.errors import HostNotReady

LEVEL = 3


class Compressor(Protocol):
    """One stream being packed."""

    def compress(self, data: bytes, /) -> bytes:
        """Take ``data``, and return what is ready."""

    def flush(self) -> bytes:
        """Return the rest."""


def compressor() -> Compressor:
    """Return a new compressor (RFC 8878). Raises HostNotReady when no library is installed."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            module: Any = import_module(name)
        except ImportError:
            continue
        made: Compressor = module.ZstdCompressor(level=LEVEL)
        return made
    raise HostNotReady(
        "bundles cannot be packed with zstd",
        cause="no Python library for zstd is installed",
        hints=["python -m pip install backports.zstd", "export to a FILE.tar, which is not packed"],
    )
