"""Steps in a guest, as root, over SSH: what they say is passed on while they say it."""

from __future__ import annotations

import asyncio
import shlex
from importlib.resources import files as package_files
from typing import TYPE_CHECKING

from banger_core.engine.run import run
from banger_core.errors import BangerError, GuestFailed
from banger_core.escapes import strip_escapes

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine
    from banger_core.engine.operations import Operation
    from banger_core.model import VmRecord

STEP_TIMEOUT = 6 * 3600.0
"""Seconds that one step may take: a limit for what hangs, not for what is slow."""

PLACE = "/run/banger-build"
"""Where a step lies in the guest: in memory, so that nothing of it gets into the image."""

SHELL = "/run/banger/bin/busybox sh"

_PAUSE = 0.1
_LINES = 100
_LONGEST = 400


class Listener:
    """Passes on what a program says, a few times a second; a flood is cut, and that is said."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._rest = b""
        self._lines: list[str] = []
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, data: bytes) -> None:
        """Take what it said."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > _LONGEST * 16:
            self._take(self._rest)
            self._rest = b""
        if self._timer is None and (self._lines or self._dropped):
            self._timer = asyncio.get_running_loop().call_later(_PAUSE, self._pass_on)

    def close(self) -> None:
        """Pass on the rest."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        if self._timer is not None:
            self._timer.cancel()
        self._pass_on()

    def _take(self, line: bytes) -> None:
        if len(self._lines) >= _LINES:
            self._dropped += 1
            return
        # A line that was written over shows what it said last, as on a terminal
        text = strip_escapes(line.rstrip(b"\r").rpartition(b"\r")[2]).strip("\n")
        self._lines.append(text[:_LONGEST])

    def _pass_on(self) -> None:
        self._timer = None
        lines, self._lines = self._lines, []
        if self._dropped:
            lines.append(f"… {self._dropped} more lines")
            self._dropped = 0
        if lines:
            self._operation.output(lines)


async def ask_guest(engine: Engine, record: VmRecord, command: str) -> str:
    """Return what a short command prints, run by root's shell."""
    said = await engine.run_in_guest(record, f"banger-as root {command}", timeout=60)
    return said.decode(errors="replace").strip()


async def run_step(
    engine: Engine, record: VmRecord, script: bytes, what: str, operation: Operation
) -> None:
    """Run ``script`` as root in ``/``: by the program that its first line names (``#!``), else by
    the image's ``sh``. Raises GuestFailed with how it ended.
    """
    place = shlex.quote(f"{PLACE}/step")
    take = f"umask 077 && mkdir -p {PLACE} && cat >{place} && chmod 700 {place}"
    program = place if script.startswith(b"#!") else f"sh {place}"
    await _ssh(engine, record, take, script, None)
    listener = Listener(operation)
    try:
        await _ssh(engine, record, f"cd / && exec {program} </dev/null", b"", listener)
    except BangerError as problem:
        raise GuestFailed(
            f"{what} failed in the machine",
            cause=f"{problem.summary.removeprefix('ssh failed ').strip('()')}: "
            f"{problem.cause or 'see what it said above'}",
            hints=["correct it and build again: nothing was kept"],
        ) from problem
    finally:
        listener.close()


async def forget_identity(engine: Engine, record: VmRecord) -> None:
    """Remove from a running guest what tells it from others, and what banger wrote for it."""
    told = (
        f"HOST={shlex.quote(record.name)}\nNAMESERVER={shlex.quote(record.plan.net.nameserver)}\n"
    )
    text = (package_files("banger_core.guest") / "files" / "forget").read_text("utf-8")
    await _ssh(engine, record, f"exec {SHELL} -s", (told + text).encode(), None)


async def _ssh(
    engine: Engine, record: VmRecord, command: str, stdin: bytes, listener: Listener | None
) -> None:
    target = engine.ssh_target(record)
    # A connection of its own, so that ending it ends what it runs
    options = ("-o", "BatchMode=yes", "-o", "ControlPath=none", "-o", "ServerAliveInterval=30")
    await run(
        ["ssh", "-T", *options, *target.argv[1:], f"banger-as root {command}"],
        stdin=stdin,
        timeout=STEP_TIMEOUT,
        listen=listener,
    )
