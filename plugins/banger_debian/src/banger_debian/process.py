"""Host programs whose output is followed while they run."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from banger_core.api import HostNotReady, install_command, started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_LINE_MAX = 1 << 16
_HEED_EVERY = 0.5
_DYING_MAX = 30.0


async def follow(
    argv: Sequence[str],
    *,
    take: Callable[[str], None],
    heed: Callable[[], None] = lambda: None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    keep_open: Sequence[int] = (),
    stderr: bool = True,
    umask: int = -1,
) -> int:
    """Run a program in a session of its own, without a shell, and return its exit status.

    ``take`` gets each line of its output (stdout, and stderr unless that is unwanted); ``heed``
    is called twice a second. When either raises, or the caller is cancelled, every process of
    the group is killed, and gone, before the error goes on. Raises HostNotReady when the program
    is missing.
    """
    try:
        start = asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if stderr else asyncio.subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            cwd=cwd,
            pass_fds=keep_open,
            limit=_LINE_MAX,
            umask=umask,
            start_new_session=True,
        )
        child = await started(start, _end)
    except FileNotFoundError as problem:
        raise HostNotReady(
            f"{argv[0]} is not installed",
            cause="Debian's packages are read with it",
            hints=[install_command(argv[0])],
        ) from problem
    assert child.stdout
    try:
        await _read(child.stdout, take, heed)
        return await child.wait()
    except BaseException:
        await _end(child)
        raise


async def _read(
    stream: asyncio.StreamReader, take: Callable[[str], None], heed: Callable[[], None]
) -> None:
    line = asyncio.ensure_future(_line(stream))
    try:
        while True:
            done, _ = await asyncio.wait({line}, timeout=_HEED_EVERY)
            heed()
            if done:
                if not (text := line.result()):
                    return
                take(text.decode(errors="replace").rstrip())
                line = asyncio.ensure_future(_line(stream))
    finally:
        line.cancel()
        with suppress(asyncio.CancelledError):
            await line


async def _line(stream: asyncio.StreamReader) -> bytes:
    """Read a line, or a part of one that is too long."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as long:
        return await stream.readexactly(long.consumed)


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kill the group, and wait until nobody holds the output any more."""
    assert child.stdout
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_DYING_MAX):
            while await child.stdout.read(_LINE_MAX):
                pass
    await child.wait()
