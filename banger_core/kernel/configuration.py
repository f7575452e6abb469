"""The configuration that a kernel was built with: carried inside it, or in a file beside it."""

from __future__ import annotations

import re
import zlib

CONFIGURATION_MAX = 4 << 20
"""Most bytes of a configuration; distributions' have about 300 KiB."""

_BEGIN, _END = b"IKCFG_ST", b"IKCFG_ED"
_GZIP = b"\x1f\x8b"
_SET = re.compile(r"^CONFIG_(\w+)=(.*)$", re.MULTILINE)


def embedded_configuration(vmlinux: bytes) -> str | None:
    """Return the configuration inside an ELF kernel built with ``CONFIG_IKCONFIG``, or None.

    It is a gzip stream between two marks (kernel/configs.c); what is damaged counts as none.
    """
    at = vmlinux.find(_BEGIN + _GZIP)
    end = vmlinux.find(_END, at)
    if at < 0 or end < 0 or end - at > CONFIGURATION_MAX:
        return None
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        text = unpacker.decompress(vmlinux[at + len(_BEGIN) : end], CONFIGURATION_MAX)
    except zlib.error:
        return None
    return text.decode("utf-8", "replace") if unpacker.eof else None


def parse_configuration(text: str) -> dict[str, str]:
    """Return what is set, without ``CONFIG_`` in front: ``y``, ``m``, a number or a string."""
    return dict(_SET.findall(text))
