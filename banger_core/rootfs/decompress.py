"""Decompressors told by magic, all behind one interface that never gives much at once."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from banger_core.errors import HostNotReady, IntegrityError

PIECE = 1 << 20
"""Most bytes that come out at once, however small the input: a bomb stays a stream. Large, because
a thread that decompresses waits for the interpreter after every piece.
"""

_XZ_MEMORY = 256 << 20
_ZSTD_SLICE = 1 << 10


class Decompressor(Protocol):
    """One member or frame being decompressed."""

    @property
    def ended(self) -> bool:
        """Whether its end has been reached."""

    @property
    def rest(self) -> bytes:
        """What was fed and lies behind its end."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what comes out of ``data``. Raises IntegrityError for damage."""


def make_decompressor(magic: bytes) -> Decompressor | None:
    """Return a new decompressor for a stream that begins with ``magic``, None for a plain one."""
    if magic[:2] == b"\x1f\x8b":
        return _Gzip()
    if magic[:6] == b"\xfd7zXZ\x00":
        return _Bounded(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), lzma.LZMAError)
    skippable = magic[1:4] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50
    if magic[:4] == b"\x28\xb5\x2f\xfd" or skippable:
        return _make_zstd()
    return None


def _first_module(*names: str) -> ModuleType | None:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


class _Engine:
    """A decompressor of the kind that the standard library has."""

    def __init__(self, engine: Any, *errors: type[Exception]) -> None:
        self._engine, self._errors = engine, errors

    @property
    def ended(self) -> bool:
        return bool(self._engine.eof)

    @property
    def rest(self) -> bytes:
        return bytes(self._engine.unused_data)

    def _decompress(self, data: bytes) -> bytes:
        try:
            return bytes(self._engine.decompress(data, PIECE))
        except self._errors as problem:
            raise _damaged(problem) from problem


class _Gzip(_Engine):
    """zlib, or ISA-L's much faster work-alike where it is installed."""

    def __init__(self) -> None:
        fast = _first_module("isal.isal_zlib") or zlib
        super().__init__(fast.decompressobj(31), zlib.error, fast.error)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if piece := self._decompress(data):
                yield piece
            data = self._engine.unconsumed_tail


class _Bounded(_Engine):
    """What follows the interface of ``bz2`` and ``lzma``: it asks for input when it needs some."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        more = True
        while more:
            if piece := self._decompress(data):
                yield piece
            data = b""
            more = not self._engine.eof and not self._engine.needs_input


class _ZstandardModule:
    """The ``zstandard`` package: no bound on its output, so it gets its input in small slices."""

    def __init__(self, module: ModuleType) -> None:
        self._engine = module.ZstdDecompressor().decompressobj()
        self._error: type[Exception] = module.ZstdError
        self.rest = b""

    @property
    def ended(self) -> bool:
        return bool(self._engine.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _ZSTD_SLICE):
            try:
                piece = self._engine.decompress(data[at : at + _ZSTD_SLICE])
            except self._error as problem:
                raise _damaged(problem) from problem
            if piece:
                yield piece
            if self._engine.eof:
                self.rest = self._engine.unused_data + data[at + _ZSTD_SLICE :]
                return


def _make_zstd() -> Decompressor:
    if module := _first_module("compression.zstd", "backports.zstd"):
        return _Bounded(module.ZstdDecompressor(), module.ZstdError)
    if module := _first_module("zstandard"):
        return _ZstandardModule(module)
    raise HostNotReady(
        "this layer is compressed with zstd",
        cause="no Python library for zstd is installed",
        hints=["python -m pip install backports.zstd"],
    )


def _damaged(problem: Exception) -> IntegrityError:
    return IntegrityError("the layer is damaged", cause=f"decompression failed: {problem}")
