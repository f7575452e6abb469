"""The compressions that Linux kernels are packed with, all with a bound on the output."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, NoReturn

from banger_core.errors import UsageProblem
from banger_core.kernel.lz4 import Damaged, unpack_legacy


def decompress(data: bytes, limit: int) -> bytes:
    """Unpack ``data``, whose first bytes name the format: gzip, xz, lzma, bzip2, lz4 or zstd.

    What follows the end of the compressed stream is ignored: the kernel's build appends its size.
    Raises UsageProblem for an unknown format, damage, or more than ``limit`` bytes of output.
    """
    for magic, name, unpack in _FORMATS:
        if data.startswith(magic):
            try:
                return unpack(data, limit)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, Damaged) as problem:
                raise UsageProblem(
                    "the kernel image is damaged", cause=f"{name}: {problem}"
                ) from problem
    raise UsageProblem(
        "the kernel is packed in an unknown format", cause=f"it begins with {data[:6].hex()}"
    )


def _whole(unpacked: bytes, limit: int, *, ended: bool) -> bytes:
    if len(unpacked) > limit:
        _too_big(limit)
    if not ended:
        raise EOFError("it ends in the middle")
    return unpacked


def _too_big(limit: int) -> NoReturn:
    raise UsageProblem("the kernel is too big", cause=f"it unpacks to more than {limit >> 20} MiB")


def _gzip(data: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    return _whole(unpacker.decompress(data, limit + 1), limit, ended=unpacker.eof)


def _incremental(make: Callable[[], Any]) -> Callable[[bytes, int], bytes]:
    """Unpack with one of the standard library's incremental decompressors."""

    def unpack(data: bytes, limit: int) -> bytes:
        unpacker = make()
        return _whole(unpacker.decompress(data, limit + 1), limit, ended=unpacker.eof)

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
            raise UsageProblem(
                "the kernel is packed with zstd, which this Python cannot unpack",
                hints=["pip install backports.zstd"],
            ) from None
    try:
        # The window of a kernel may be larger than what the library allows by default
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 27}
        return _incremental(lambda: zstd.ZstdDecompressor(options=options))(data, limit)
    except zstd.ZstdError as problem:
        raise ValueError(problem) from problem


_FORMATS: tuple[tuple[bytes, str, Callable[[bytes, int], bytes]], ...] = (
    (b"\x1f\x8b", "gzip", _gzip),
    (b"\xfd7zXZ\0", "xz", _incremental(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ))),
    (b"\x5d\0\0", "lzma", _incremental(lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE))),
    (b"BZh", "bzip2", _incremental(bz2.BZ2Decompressor)),
    (b"\x02\x21\x4c\x18", "lz4", _lz4),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
)
