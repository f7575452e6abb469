"""Streams into the guest by vsock, as Firecracker offers them on a Unix socket (its docs/vsock.md):
``CONNECT PORT``, answered by ``OK PORT`` when somebody listens there, else by the end.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from banger_core.api import GUEST_HELPER_PORT, GuestFailed

_LIMIT = 5.0
_LONGEST = 32


async def connect_helper(socket: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the guest's helper."""
    return await connect(socket, GUEST_HELPER_PORT)


async def connect(socket: Path, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a stream to ``port`` of the guest. Raises OSError when the machine is gone and
    GuestFailed when nobody listens there, or nobody answers within five seconds.
    """
    reader, writer = await asyncio.open_unix_connection(socket)
    answer = b""
    try:
        writer.write(f"CONNECT {port}\n".encode())
        with suppress(TimeoutError):
            async with asyncio.timeout(_LIMIT):
                answer = await _line(reader)
    finally:
        if not answer.startswith(b"OK "):
            writer.close()
    if not answer.startswith(b"OK "):
        raise GuestFailed(
            f"nobody listens at vsock port {port} of the guest",
            cause=f"the answer is {answer[:_LONGEST]!r}" if answer else "there is no answer",
        )
    return reader, writer


async def _line(reader: asyncio.StreamReader) -> bytes:
    # Not a byte more than the line: the rest is the guest's
    line = b""
    while len(line) < _LONGEST and (byte := await reader.read(1)):
        if byte == b"\n":
            return line
        line += byte
    return line
