"""A client for QEMU's control socket (QEMU Machine Protocol, docs/interop/qmp-spec)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

from banger_core.api import GuestFailed

_MESSAGE_LIMIT = 1 << 20
_ANSWER_LIMIT = 10.0


class Qmp:
    """One connection. QEMU serves one at a time; it ends when either side goes away.

    ``shutdown_reason`` is what QEMU last said on why the guest ended, empty before.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._listener = asyncio.create_task(self._listen())
        self.shutdown_reason = ""

    @classmethod
    async def connect(cls, path: Path) -> Qmp:
        """Connect and negotiate. Raises OSError when nobody listens at ``path``, and GuestFailed
        when what listens does not speak the protocol.
        """
        reader, writer = await asyncio.open_unix_connection(path, limit=_MESSAGE_LIMIT)
        client = cls(reader, writer)
        try:
            await client.execute("qmp_capabilities")
        except BaseException:
            await client.close()
            raise
        return client

    async def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command and return its result. Raises GuestFailed when QEMU refuses, does not
        answer within ten seconds, or is gone.
        """
        if self._listener.done():
            raise GuestFailed(f"QEMU cannot {command}", cause="its control socket is closed")
        number = next(self._ids)
        answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        message = {"execute": command, "arguments": arguments, "id": number}
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            async with asyncio.timeout(_ANSWER_LIMIT):
                await self._writer.drain()
                return await answer
        except TimeoutError:
            raise GuestFailed(f"QEMU cannot {command}", cause="it does not answer") from None
        except OSError as problem:
            raise GuestFailed(f"QEMU cannot {command}", cause=str(problem)) from problem
        finally:
            self._waiting.pop(number, None)

    async def give(self, name: str, end: socket.socket | IO[bytes]) -> None:
        """Give QEMU a copy of ``end``, which options call ``name``; one at a time."""
        await self._writer.drain()
        with socket.socket(fileno=os.dup(self._writer.get_extra_info("socket").fileno())) as wire:
            # It comes with a byte of ours: a space between two messages
            socket.send_fds(wire, [b" "], [end.fileno()])
        await self.execute("getfd", fdname=name)

    async def closed(self) -> None:
        """Return when QEMU has closed the connection and everything it said has been read."""
        with suppress(asyncio.CancelledError):
            await asyncio.shield(self._listener)

    async def close(self) -> None:
        """Let go of the connection; QEMU goes on. Idempotent."""
        self._listener.cancel()
        self._writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await self._writer.wait_closed()

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                message = json.loads(line)
                if isinstance(message, dict):
                    self._take(message)
        except (OSError, ValueError):
            # A cut line, a line beyond the limit or no JSON: nothing that follows can be trusted
            self._writer.close()
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(
                        GuestFailed("QEMU went away", cause="its control socket was closed")
                    )

    def _take(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._note(str(message["event"]), message.get("data"))
            return
        answer = self._waiting.get(message.get("id", 0))
        if answer is None or answer.done():
            return
        if "error" in message:
            problem = message["error"]
            text = problem.get("desc", "") if isinstance(problem, dict) else ""
            answer.set_exception(GuestFailed("QEMU refused a command", cause=str(text)))
        else:
            answer.set_result(message.get("return"))

    def _note(self, event: str, data: Any) -> None:
        if event == "GUEST_PANICKED":
            self.shutdown_reason = "guest-panic"
        elif event == "SHUTDOWN" and isinstance(data, dict) and not self.shutdown_reason:
            self.shutdown_reason = str(data.get("reason", ""))
