r"""The host's side of the guest helper's protocol, which trusts nothing that comes back.

The host asks, the guest answers; version 1, over any byte stream:

    host:   @banger 1 ID OPERATION [ARGUMENT]\n
    guest:  @banger 1 ID ok|no LENGTH\n and LENGTH bytes of text

ID is random, so that an answer to an earlier question, or half of one, is never taken for this
one: lines that are no answer to it are skipped. Everything is bounded: an answer, what is skipped
before it, and the time for both. Between questions nothing is read, so that what a guest says
unasked waits in its own memory, but for the stream's buffer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from banger_core.errors import BangerError, GuestFailed, HostileInput

VERSION = 1

ANSWER_MAX = 64 << 10
"""Longest answer that is taken (bytes)."""

SKIP_MAX = 256 << 10
"""Most bytes that are skipped before an answer."""

DEADLINE = 10.0
"""Seconds for one question. A helper starts two seconds after the guest answers over SSH, and a
guest under emulation on a busy host is slow."""

PENANCE = 5.0
"""Seconds in which a guest that broke the protocol is not asked again."""

LOG_INTERVAL = 60.0
"""Broken rules of one guest are logged at most this often (seconds)."""

# Not at the start of a line: an answer that nobody waited for has no line feed at its end
_HEADER = re.compile(rb"@banger (\d{1,4}) ([0-9a-f]{16}) (ok|no) (\d{1,8})\r?\n\Z")
_WORDS = re.compile(r"[a-z]+(?: [0-9]+)?")

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Stream]]

log = logging.getLogger("banger.guest")


class GuestHelper:
    """Asks the helper of one VM; one question at a time, over one connection that is kept.

    ``connect`` opens the channel, ``name`` is for messages. Belongs to one event loop.
    """

    def __init__(self, connect: Connect, name: str) -> None:
        self._connect, self._name = connect, name
        self._stream: Stream | None = None
        self._turn = asyncio.Lock()
        self._blamed = self._logged = float("-inf")

    async def open(self) -> None:
        """Connect ahead of the first question, so that the helper waits without polling. A
        channel that is not there yet is no error.
        """
        async with self._turn:
            with suppress(OSError, BangerError, TimeoutError):
                async with asyncio.timeout(DEADLINE):
                    await self._connected()

    async def ask(self, question: str, *, deadline: float = DEADLINE) -> str:
        """Return the answer to ``question``, an operation and perhaps a number.

        Raises GuestFailed when the helper does not answer within ``deadline`` seconds or says no,
        and HostileInput for what no helper says.
        """
        assert _WORDS.fullmatch(question), question
        try:
            async with asyncio.timeout(deadline), self._turn:
                return await self._in_turn(question)
        except TimeoutError:
            raise self._failed(f"nothing came within {deadline:g} s") from None

    async def _in_turn(self, question: str) -> str:
        left = self._blamed + PENANCE - time.monotonic()
        if left > 0:
            raise self._failed(f"it broke the protocol and is not asked for {left:.0f} s")
        try:
            return await self._converse(question)
        except BaseException as problem:
            # Whatever is still on its way is not waited for
            self.close()
            if isinstance(problem, HostileInput):
                self._blame(problem)
            if isinstance(problem, asyncio.IncompleteReadError):
                raise self._failed("it hung up") from None
            if isinstance(problem, OSError):
                raise self._failed(str(problem)) from problem
            raise

    def close(self) -> None:
        """Hang up; a later question connects anew. Idempotent."""
        if self._stream is not None:
            # Without ceremony: a guest that reads nothing would keep us
            self._stream[1].transport.abort()
            self._stream = None

    async def _connected(self) -> Stream:
        if self._stream is None or self._stream[0].at_eof() or self._stream[1].is_closing():
            self.close()
            self._stream = await self._connect()
            # What is left of a question whose asker went away must not become part of ours
            self._stream[1].write(b"\n")
        return self._stream

    async def _converse(self, question: str) -> str:
        reader, writer = await self._connected()
        number = secrets.token_hex(8)
        writer.write(f"@banger {VERSION} {number} {question}\n".encode())
        await writer.drain()
        status, length = await self._header(reader, number.encode())
        answer = (await reader.readexactly(length)).decode("utf-8", "replace")
        if status == b"no":
            raise GuestFailed(
                f"the guest helper of {self._name} refuses",
                cause=f"{question}: {_shown(answer)}",
                hints=[f"banger vm logs {self._name}"],
            )
        return answer

    async def _header(self, reader: asyncio.StreamReader, number: bytes) -> tuple[bytes, int]:
        skipped = 0
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                raise self._hostile("a line without end") from None
            found = _HEADER.search(line)
            if found and found[2] == number:
                break
            skipped += len(line)
            if skipped > SKIP_MAX:
                raise self._hostile(f"more than {SKIP_MAX >> 10} KiB that nobody asked for")
        if int(found[1]) != VERSION:
            raise self._failed(f"it speaks version {int(found[1])} of the protocol, not {VERSION}")
        if int(found[4]) > ANSWER_MAX:
            raise self._hostile(f"an answer of {int(found[4])} bytes")
        return found[3], int(found[4])

    def _blame(self, problem: HostileInput) -> None:
        self._blamed = time.monotonic()
        if self._blamed - self._logged > LOG_INTERVAL:
            self._logged = self._blamed
            log.warning("%s: %s", problem.summary, problem.cause)

    def _hostile(self, what: str) -> HostileInput:
        return HostileInput(
            f"the guest of {self._name} misuses its helper's channel",
            cause=f"it sends {what}",
            hints=[f"banger vm restart {self._name}"],
        )

    def _failed(self, cause: str) -> GuestFailed:
        return GuestFailed(
            f"the guest helper of {self._name} does not answer",
            cause=cause,
            hints=[f"banger vm logs {self._name}", f"banger vm restart {self._name}"],
        )


def _shown(answer: str) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in answer[:200])
    return text or "it gives no reason"
