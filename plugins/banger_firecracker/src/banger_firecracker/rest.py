"""A client for Firecracker's API: HTTP/1.1 with JSON over its Unix socket.

Firecracker knows a small part of HTTP (RFC 9112): answers have a Content-Length or no body.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from banger_core.api import GuestFailed
from banger_firecracker.faults import fault

ANSWER_LIMIT = 10.0
"""Seconds within which Firecracker answers what it can answer at once."""

_HEAD_LIMIT = 1 << 14
_BODY_LIMIT = 1 << 20


class Api:
    """The API at one socket. A connection is made for each request: Firecracker serves one at a
    time, and nobody shall keep others out.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def put(self, path: str, body: dict[str, Any], *, limit: float = ANSWER_LIMIT) -> Any:
        """``PUT``; see ``request``."""
        return await self.request("PUT", path, body, limit=limit)

    async def patch(self, path: str, body: dict[str, Any], *, limit: float = ANSWER_LIMIT) -> Any:
        """``PATCH``; see ``request``."""
        return await self.request("PATCH", path, body, limit=limit)

    async def get(self, path: str) -> Any:
        """``GET``; see ``request``."""
        return await self.request("GET", path, None)

    async def request(
        self, method: str, path: str, body: dict[str, Any] | None, *, limit: float = ANSWER_LIMIT
    ) -> Any:
        """Return the answer's JSON, None when it has none. Raises what ``faults.fault`` makes of
        a refusal, GuestFailed when there is no answer within ``limit`` seconds or it is no HTTP,
        and OSError when nobody listens.
        """
        try:
            async with asyncio.timeout(limit):
                status, answer = await self._exchange(method, path, body)
        except TimeoutError:
            raise GuestFailed(
                f"Firecracker does not answer {method} {path}", cause=f"waited {limit:g} s"
            ) from None
        except (ValueError, EOFError, asyncio.LimitOverrunError) as problem:
            raise GuestFailed(
                f"Firecracker's answer to {method} {path} makes no sense", cause=str(problem)
            ) from problem
        if status >= 300:
            message = answer.get("fault_message") if isinstance(answer, dict) else ""
            raise fault(method, path, status, str(message or ""))
        return answer

    async def _exchange(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=_HEAD_LIMIT)
        try:
            content = b"" if body is None else json.dumps(body).encode()
            head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
            if body is not None:
                head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
            writer.write(f"{head}\r\n".encode() + content)
            await writer.drain()
            status, length = _parse_head(await reader.readuntil(b"\r\n\r\n"))
            answer = await reader.readexactly(length)
            return status, json.loads(answer) if answer.strip() else None
        finally:
            writer.close()


def _parse_head(head: bytes) -> tuple[int, int]:
    """Return status and length of the body."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not rest[:3].isdecimal():
        raise ValueError(f"it begins with {first[:80]!r}")
    length = 0
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-length":
            length = int(value)
    if not 0 <= length <= _BODY_LIMIT:
        raise ValueError(f"its body would have {length} bytes")
    return int(rest[:3]), length
