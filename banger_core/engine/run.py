"""The one way to run a host program to its end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shlex
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from banger_core.errors import BangerError, NoSpace
from banger_core.escapes import strip_escapes
from banger_core.packages import find_program, search_path
from banger_core.threads import started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

OUTPUT_LIMIT = 64 << 20
"""Most bytes of stdout that a program may give; far more than any honest one does."""


_CARRIERS = frozenset({"ssh", "scp"})
"""What these say may be a guest's words about its own disk."""

_FULL = tuple(os.strerror(number).encode() for number in (errno.ENOSPC, errno.EDQUOT))


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 60.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    listen: Callable[[bytes], None] | None = None,
) -> bytes:
    """Run a program to its end and return its stdout; ``env`` is added to our own environment.

    ``listen`` gets what it writes, to both outputs and while it writes; then nothing is returned.

    Raises HostNotReady when the program is missing, NoSpace when it says that the disk is full, and
    BangerError, with the command ready to be pasted, when it fails, writes more than
    ``OUTPUT_LIMIT`` or takes longer than ``timeout`` seconds. The program's whole process group is
    gone when this returns by error or cancellation.
    """
    program = find_program(argv[0])
    command = shlex.join(argv)
    log.debug("run: %s", command)
    start = asyncio.get_running_loop().subprocess_exec(
        lambda: _Conversation(argv[0], listen),
        *argv,
        executable=program,
        env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": search_path(), **(env or {})},
        cwd=cwd,
        start_new_session=True,
    )
    transport, talk = await started(start, lambda pair: _end(*pair))
    try:
        talk.say(transport, stdin)
        async with asyncio.timeout(timeout):
            await asyncio.shield(talk.over)
        transport.close()
    except TimeoutError:
        await _end(transport, talk)
        raise BangerError(
            f"{argv[0]} took longer than {timeout:g} s",
            cause="it was ended",
            hints=[f"try by hand: {command}"],
        ) from None
    except BaseException:
        await _end(transport, talk)
        raise
    finally:
        transport.close()
    if status := transport.get_returncode():
        if argv[0] not in _CARRIERS and talk.said(_FULL):
            raise NoSpace(
                f"no space left for {argv[0]}", cause=talk.complaint(), hints=["df -h", command]
            )
        how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
        raise BangerError(
            f"{argv[0]} failed ({how})", cause=talk.complaint(), hints=[f"try by hand: {command}"]
        )
    return bytes(talk.output)


class _Conversation(asyncio.SubprocessProtocol):
    """Takes in both outputs, bounded; ``over`` when the program and its pipes have ended."""

    def __init__(self, name: str, listen: Callable[[bytes], None] | None) -> None:
        self._name, self._listen = name, listen
        self._errors = b""
        self.output = bytearray()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()

    def say(self, transport: asyncio.SubprocessTransport, data: bytes) -> None:
        pipe = transport.get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        pipe.write(data)
        pipe.close()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self._listen is not None:
            self._listen(data)
        if fd == 2:
            self._errors = (self._errors + data)[-4096:]
        elif self._listen is not None:
            return
        elif len(self.output) <= OUTPUT_LIMIT:
            self.output += data
            if len(self.output) > OUTPUT_LIMIT and not self.over.done():
                limit = f"{OUTPUT_LIMIT >> 20} MiB"
                self.over.set_exception(
                    BangerError(
                        f"{self._name} wrote more than {limit}",
                        cause="it was ended, so that it fills nothing up",
                        hints=["banger daemon logs"],
                    )
                )

    def connection_lost(self, _: Exception | None) -> None:
        self.closed.set()
        if not self.over.done():
            self.over.set_result(None)

    def said(self, any_of: tuple[bytes, ...]) -> bool:
        """Whether the end of stderr has one of these in it."""
        return any(each in self._errors for each in any_of)

    def complaint(self) -> str:
        """The last line of stderr that says anything."""
        lines = [line.strip() for line in strip_escapes(self._errors).split("\n")]
        return next((line for line in reversed(lines) if line), "")


async def _end(transport: asyncio.SubprocessTransport, talk: _Conversation) -> None:
    """Kill what is left of the process group, and reap its leader."""
    with suppress(ProcessLookupError):
        os.killpg(transport.get_pid(), signal.SIGKILL)
    transport.close()
    await talk.closed.wait()
