"""The compressions that Linux kernels are packed with, all with a bound on the output."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, NoReturn

from banger_core.errors import HostNotReady, UsageProblem
from banger_core.kernel import lzop
from banger_core.kernel.lz4 import unpack_legacy

_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def is_packed(data: bytes) -> bool:
    """Say whether ``data`` begins as one of the formats that ``decompress`` reads."""
    return data.startswith(tuple(magic for magic, _, _ in _FORMATS))


def decompress(data: bytes, limit: int) -> bytes:
    """Unpack ``data``, whose first bytes name the format: gzip, xz, lzma, bzip2, lz4, zstd, lzo.

    Several compressed streams in a row are one; what follows the last is ignored, because the
    kernel's build appends the size. Raises UsageProblem for an unknown format, damage, or more
    than ``limit`` bytes of output, and HostNotReady when the library for a format is missing.
    """
    for magic, name, unpack in _FORMATS:
        if data.startswith(magic):
            try:
                return unpack(data, limit)
            except _DAMAGE as problem:
                raise UsageProblem(
                    "the kernel image is damaged",
                    cause=f"{name}: {problem}",
                    hints=["fetch it again"],
                ) from problem
    raise UsageProblem(
        "the kernel is packed in an unknown format",
        cause=f"it begins with {data[:6].hex()}",
        hints=[f"unpack it first; {', '.join(name for _, name, _ in _FORMATS)} are known"],
    )


def _too_big(limit: int) -> NoReturn:
    raise UsageProblem(
        "the kernel is too big",
        cause=f"it unpacks to more than {limit >> 20} MiB",
        hints=["give a kernel: no distribution's is as big as that"],
    )


def _incremental(make: Callable[[], Any], magic: bytes) -> Callable[[bytes, int], bytes]:
    """Unpack with one of the standard library's incremental decompressors, stream by stream."""

    def unpack(data: bytes, limit: int) -> bytes:
        unpacked = b""
        while True:
            unpacker = make()
            piece: bytes = unpacker.decompress(data, limit + 1 - len(unpacked))
            unpacked += piece
            if len(unpacked) > limit:
                _too_big(limit)
            if not unpacker.eof:
                raise EOFError("it ends in the middle")
            data = unpacker.unused_data
            # Four bytes are the size that the kernel's build appends, whatever they look like
            if len(data) <= 4 or not data.startswith(magic):
                return unpacked

    return unpack


def _lz4(data: bytes, limit: int) -> bytes:
    unpacked = unpack_legacy(data, limit)
    if unpacked is None:
        _too_big(limit)
    return unpacked


def _zstd(data: bytes, limit: int) -> bytes:
    try:
        from backports import zstd
    except ImportError:
        try:
            from compression import zstd  # type: ignore[import-not-found, no-redef]
        except ImportError:
            raise HostNotReady(
                "the kernel is packed with zstd, which this Python cannot unpack",
                cause="the package backports.zstd is not installed",
                hints=["python -m pip install backports.zstd"],
            ) from None
    try:
        # The window of a kernel may be larger than what the library allows by default
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 27}
        return _incremental(lambda: zstd.ZstdDecompressor(options=options), _ZSTD)(data, limit)
    except zstd.ZstdError as problem:
        raise ValueError(problem) from problem


def _lzo(data: bytes, limit: int) -> bytes:
    try:
        unpacked = lzop.unpack_lzop(data, limit)
    except lzop.NoLibrary:
        raise HostNotReady(
            "the kernel is packed with LZO, which this Python cannot unpack",
            cause="the package lzallright is not installed",
            hints=["python -m pip install lzallright"],
        ) from None
    if unpacked is None:
        _too_big(limit)
    return unpacked


_GZIP, _XZ, _LZMA, _BZIP2 = b"\x1f\x8b", b"\xfd7zXZ\0", b"\x5d\0\0", b"BZh"
_LZ4, _ZSTD = b"\x02\x21\x4c\x18", b"\x28\xb5\x2f\xfd"

_FORMATS: tuple[tuple[bytes, str, Callable[[bytes, int], bytes]], ...] = (
    (_GZIP, "gzip", _incremental(lambda: zlib.decompressobj(zlib.MAX_WBITS | 16), _GZIP)),
    (_XZ, "xz", _incremental(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), _XZ)),
    (_LZMA, "lzma", _incremental(lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE), _LZMA)),
    (_BZIP2, "bzip2", _incremental(bz2.BZ2Decompressor, _BZIP2)),
    (_LZ4, "lz4", _lz4),
    (_ZSTD, "zstd", _zstd),
    (lzop.MAGIC, "lzo", _lzo),
)
