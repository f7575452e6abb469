"""Docker's credential helpers: programs that keep passwords (docker-credential-helpers)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from banger_core.api import BangerError, HostNotReady, quoted, started

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 10.0
"""Seconds that a helper may think."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OUTPUT_MAX = 64 << 10
_DYING_MAX = 5.0
_NONE = "credentials not found"


async def ask_helper(
    name: str, server: str, *, named_by: Path, deadline: float = DEADLINE
) -> tuple[str, str] | None:
    """Ask ``docker-credential-NAME`` for ``server``: user and secret, or None when it has none.

    Raises HostNotReady when it is not installed and BangerError when it does not work;
    ``named_by`` is the file that names it.
    """
    if not _NAME.fullmatch(name):
        raise BangerError(
            f"{quoted(name)} is no name of a credential helper",
            cause=f"{named_by} names it",
            hints=[f"mend credsStore or credHelpers in {named_by}"],
        )
    program = f"docker-credential-{name}"
    try:
        async with asyncio.timeout(deadline):
            status, output = await _run([program, "get"], server.encode() + b"\n")
    except TimeoutError:
        raise _broken(program, named_by, f"it did not answer in {deadline:g} seconds") from None
    except FileNotFoundError:
        raise HostNotReady(
            f"{program} is not installed",
            cause=f"{named_by} says that it keeps the credentials for {server}",
            hints=["install it, or remove it from that file"],
        ) from None
    except OSError as problem:
        raise _broken(program, named_by, problem.strerror or str(problem)) from problem
    if len(output) > _OUTPUT_MAX:
        raise _broken(program, named_by, "its answer is too long")
    if status:
        if _NONE in output.decode(errors="replace").lower():
            return None
        raise _broken(program, named_by, f"exit status {status}: {_complaint(output)}")
    return _parse(program, output, named_by)


async def _run(argv: list[str], stdin: bytes) -> tuple[int, bytes]:
    start = asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    child = await started(start, _end)
    assert child.stdin
    assert child.stdout
    try:
        with suppress(BrokenPipeError, ConnectionResetError):
            child.stdin.write(stdin)
            await child.stdin.drain()
        child.stdin.close()
        output = b""
        while len(output) <= _OUTPUT_MAX and (piece := await child.stdout.read(_OUTPUT_MAX)):
            output += piece
        if len(output) > _OUTPUT_MAX:
            return 0, output
        return await child.wait(), output
    finally:
        # It may have left one of its own behind, who holds its output
        if child.returncode is None or not child.stdout.at_eof():
            await _end(child)


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kill a child and what it started, and wait until nobody holds its output any more."""
    assert child.stdout
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_DYING_MAX):
            while await child.stdout.read(_OUTPUT_MAX):
                pass
    await child.wait()


def _parse(program: str, output: bytes, named_by: Path) -> tuple[str, str] | None:
    try:
        answer = json.loads(output)
        user, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        user = secret = None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise _broken(program, named_by, "its answer is not a JSON object with name and secret")
    return (user, secret) if user or secret else None


def _complaint(output: bytes) -> str:
    """Its own words, unless a secret may be among them."""
    if b"Secret" in output:
        return "…"
    return quoted(output.strip() or b"it says nothing")


def _broken(program: str, named_by: Path, cause: str) -> BangerError:
    return BangerError(
        f"{program} does not work",
        cause=cause,
        hints=[f"{program} list", f"{named_by} names it: credsStore or credHelpers"],
    )
