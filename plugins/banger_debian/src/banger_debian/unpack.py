"""Decompression with a bound, for package indexes and package members."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from banger_core.api import HostileInput, HostNotReady, IntegrityError

if TYPE_CHECKING:
    from pathlib import Path


class Source(Protocol):
    """Something to read bytes from."""

    def read(self, count: int = -1, /) -> bytes:
        """Read at most ``count`` bytes, everything when negative; empty at the end."""


_DAMAGE = (EOFError, OSError, lzma.LZMAError, zlib.error)


def unpack_index(path: Path, suffix: str, limit: int) -> bytes:
    """Unpack a package index into memory.

    Raises HostileInput when it is longer than ``limit`` bytes, IntegrityError for damage.
    """
    with path.open("rb") as packed, open_packed(packed, suffix) as stream:
        index = stream.read(limit + 1)
    if len(index) > limit:
        raise HostileInput(
            "a package index is longer than signed", cause=f"more than {limit} bytes"
        )
    return index


@contextmanager
def open_packed(packed: Source, suffix: str) -> Iterator[Source]:
    """Open a compressed stream for reading; ``suffix`` is ``.xz``, ``.gz``, ``.zst`` or empty.

    Damage that is met inside of the ``with`` block comes out as IntegrityError.
    """
    damage = (*_DAMAGE, _zstd().ZstdError) if suffix == ".zst" else _DAMAGE
    try:
        with _opener(packed, suffix) as stream:
            yield stream
    except damage as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise
        raise IntegrityError("a package or its index is damaged", cause=str(problem)) from problem


def _opener(packed: Any, suffix: str) -> AbstractContextManager[Source]:
    if suffix == ".xz":
        return lzma.LZMAFile(packed)
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=packed)
    if suffix == ".zst":
        return _zstd().ZstdFile(packed)  # type: ignore[no-any-return]
    if suffix == "":
        return nullcontext(packed)
    raise HostileInput(
        "a package or its index is packed in an unknown way", cause=f"suffix {suffix[:20]!r}"
    )


def _zstd() -> Any:
    """Return the module that reads zstd: the standard library has it from 3.14 on."""
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name)
    raise HostNotReady(
        "a package of Debian is packed with zstd",
        cause="no Python library for zstd is installed",
        hints=["python -m pip install backports.zstd"],
    )
