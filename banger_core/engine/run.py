"""The one way to run a host program to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from banger_core.engine.console import strip_escapes
from banger_core.errors import BangerError, HostNotReady
from banger_core.packages import install_command

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

OUTPUT_LIMIT = 64 << 20
"""Most bytes of stdout that a program may give; far more than any honest one does."""

_CHUNK = 1 << 16


def search_path() -> str:
    """Return PATH with the administrator's directories, which plain users often lack."""
    found = os.environ.get("PATH") or os.defpath
    missing = [place for place in ("/usr/sbin", "/sbin") if place not in found.split(":")]
    return ":".join([found, *missing])


def find_program(name: str) -> str:
    """Return the full path of a program. Raises HostNotReady naming the package to install."""
    if found := shutil.which(name, path=search_path()):
        return found
    raise HostNotReady(
        f"{name} is not installed",
        cause="it is neither on PATH nor in /usr/sbin or /sbin",
        hints=[install_command(name.rpartition("/")[2])],
    )


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 60.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> bytes:
    """Run a program to its end and return its stdout; ``env`` is added to our own environment.

    Raises HostNotReady when the program is missing and BangerError, with the command ready to be
    pasted, when it fails, writes more than ``OUTPUT_LIMIT`` or takes longer than ``timeout``
    seconds. The program's whole process group is gone when this returns by error or cancellation.
    """
    program = find_program(argv[0])
    command = shlex.join(argv)
    log.debug("run: %s", command)
    child = await asyncio.create_subprocess_exec(
        *argv,
        executable=program,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": search_path(), **(env or {})},
        cwd=cwd,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout):
            output, complaint = await _converse(child, stdin, argv[0])
            status = await child.wait()
    except TimeoutError:
        await _end(child)
        raise BangerError(
            f"{argv[0]} took longer than {timeout:g} s", hints=[f"try by hand: {command}"]
        ) from None
    except BaseException:
        await _end(child)
        raise
    if status:
        how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
        raise BangerError(
            f"{argv[0]} failed ({how})", cause=complaint, hints=[f"try by hand: {command}"]
        )
    return output


async def _converse(child: Process, stdin: bytes, name: str) -> tuple[bytes, str]:
    """Feed stdin and drain both outputs; return stdout and the last line of stderr."""
    assert child.stdin
    assert child.stdout
    assert child.stderr
    output, complaint, _ = await asyncio.gather(
        _collect(child.stdout, name), _last_line(child.stderr), _feed(child.stdin, stdin)
    )
    return output, complaint


async def _feed(stream: asyncio.StreamWriter, data: bytes) -> None:
    # A program may end without having read all of its input; its status says whether that is wrong
    with suppress(BrokenPipeError, ConnectionResetError):
        stream.write(data)
        await stream.drain()
        stream.close()
        await stream.wait_closed()


async def _collect(stream: asyncio.StreamReader, name: str) -> bytes:
    chunks, size = [], 0
    while chunk := await stream.read(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > OUTPUT_LIMIT:
            raise BangerError(f"{name} wrote more than {OUTPUT_LIMIT >> 20} MiB")
    return b"".join(chunks)


async def _last_line(stream: asyncio.StreamReader) -> str:
    kept = b""
    while chunk := await stream.read(_CHUNK):
        kept = (kept + chunk)[-4096:]
    lines = [line.strip() for line in strip_escapes(kept).split("\n")]
    return next((line for line in reversed(lines) if line), "")


async def _end(child: Process) -> None:
    """Kill what is left of the process group, and reap its leader."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()
