"""Processes that cannot be mistaken for others, and that outlive the daemon.

A process is (pid, start time, boot id); it is signalled and awaited through a pidfd
(pidfd_open(2)), so a reused pid is never hit. Nothing is found by matching command lines.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal as signals
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.errors import BangerError, Conflict, HostNotReady
from banger_core.escapes import strip_escapes
from banger_core.model import ProcessId
from banger_core.packages import install_command
from banger_core.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where spawned programs, and the programs that they start, are looked for."""

RECORD = "process"
"""Name of the file in a process's directory that holds its identity."""

LOG = "vmm.log"
"""Name of the file in a process's directory that takes its stdout and stderr."""

_WORDS = 1 << 16

# Shell builtins only, so that no other process is involved and the pid stays the program's own.
# The program begins only after the daemon has seen the record and answered: when the daemon dies
# before that, `read` meets the end of file and the program never exists.
_LAUNCHER = """
record=$1; shift
ulimit -c 0; cd /; unset PWD OLDPWD
IFS= read -r stat </proc/$$/stat && IFS= read -r boot </proc/sys/kernel/random/boot_id &&
printf '%s\\n%s\\n.\\n' "$boot" "$stat" >"$record" && echo recorded && read -r go || exit 125
exec "$@" </dev/null >&2
"""


_REMEMBERED = 1000
"""So many exit statuses are kept, the latest."""


class _Detached(subprocess.Popen[bytes]):
    """A child that may outlive us: its being alive at our end is no mistake to warn about."""

    def __del__(self) -> None:
        pass


_children: dict[ProcessId, _Detached] = {}
_statuses: dict[ProcessId, int] = {}
_reapers: set[asyncio.Task[None]] = set()


def identify(pid: int) -> ProcessId:
    """Return the identity of the process that has ``pid`` now. Raises ProcessLookupError."""
    return _parse(_stat(pid), _boot_id())[0]


def alive(process: ProcessId) -> bool:
    """Say whether precisely this process still runs. A zombie does not."""
    try:
        now, state = _parse(_stat(process.pid), _boot_id())
    except ProcessLookupError:
        return False
    return now == process and state not in "ZXx"


def signal(process: ProcessId, signum: int) -> bool:
    """Send a signal to precisely this process; say whether it was there to get it.

    Raises PermissionError when the process belongs to somebody else.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # Checked after opening: while this holds, the handle can mean no other process
        if not alive(process):
            return False
        signals.pidfd_send_signal(handle, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


async def wait_gone(process: ProcessId) -> None:
    """Return when the process has ended, child or not; a spawned one is reaped.

    Cancelling the wait leaves the process alone.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        _reap(process)
        return
    try:
        # Also when it looks like a zombie: its first thread may be one while others still end, and
        # the handle becomes readable when all have
        if _is(process):
            await _readable(handle)
    finally:
        os.close(handle)
    _reap(process)


def _is(process: ProcessId) -> bool:
    """Whether the pid is this process's, alive or not yet collected."""
    try:
        return _parse(_stat(process.pid), _boot_id())[0] == process
    except ProcessLookupError:
        return False


def exit_status(process: ProcessId) -> int | None:
    """Return the exit status of an ended process that this daemon spawned (negative: the signal
    that ended it), or None when it still runs or nobody here saw its end.
    """
    _reap(process)
    return _statuses.get(process)


def recorded(directory: Path) -> ProcessId | None:
    """Return the process that was last spawned for ``directory``, alive or not.

    None when there was none, or when the launcher was stopped before it had written everything.
    """
    try:
        with (directory / RECORD).open("rb") as file:
            lines = file.read(4096).split(b"\n")
    except FileNotFoundError:
        return None
    if len(lines) != 4 or lines[2:] != [b".", b""]:
        return None
    try:
        return _parse(lines[1], lines[0].decode("ascii"))[0]
    except ValueError:
        return None


async def spawn(argv: Sequence[str], *, directory: Path) -> ProcessId:
    """Start a long-lived program that outlives the daemon, in a session of its own.

    Its identity is in ``directory/process`` before the program exists, its output in
    ``directory/vmm.log``; its environment is PATH and LANG, its
    working directory /. Raises HostNotReady when the program
    or the directory cannot be used, and Conflict when the directory's last process still runs.
    """
    if not shutil.which(argv[0], path=PATH):
        raise HostNotReady(
            f"{argv[0]} is not installed",
            cause=f"it is not on {PATH}",
            hints=[install_command(argv[0].rpartition("/")[2])],
        )
    if (last := recorded(directory)) and alive(last):
        raise Conflict(
            f"{directory} already has a running process",
            cause=f"its pid is {last.pid}",
            hints=[f"ps -fp {last.pid}"],
        )
    try:
        process = await in_thread(_launch, list(argv), directory)
    except asyncio.CancelledError:
        if launched := recorded(directory):
            signal(launched, signals.SIGKILL)
            await wait_gone(launched)
        raise
    reaper = asyncio.create_task(wait_gone(process))
    _reapers.add(reaper)
    reaper.add_done_callback(_reapers.discard)
    return process


def last_words(directory: Path) -> list[str]:
    """Return the lines with which the output of the program ends that was last spawned for
    ``directory``: of its last 64 KiB all that are not blank, the last one last, safe to show. Empty
    when it said nothing.
    """
    try:
        with (directory / LOG).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _WORDS))
            said = strip_escapes(file.read(_WORDS))
    except OSError:
        return []
    return [line for each in said.splitlines() if (line := each.strip())]


def _launch(argv: list[str], directory: Path) -> ProcessId:
    record = directory / RECORD
    try:
        record.unlink(missing_ok=True)
        log = os.open(directory / LOG, _LOG_FLAGS, 0o600)
    except OSError as problem:
        raise HostNotReady(f"cannot write in {directory}", cause=str(problem)) from problem
    try:
        child = _Detached(
            ["/bin/sh", "-c", _LAUNCHER, "banger-launch", str(record), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={"PATH": PATH, "LANG": "C.UTF-8"},
            umask=0o077,
            start_new_session=True,
        )
    finally:
        os.close(log)
    process = identify(child.pid)
    _children[process] = child
    assert child.stdin
    assert child.stdout
    with child.stdin, child.stdout:
        if child.stdout.readline() != b"recorded\n":
            child.wait()
            raise BangerError(
                f"cannot start {argv[0]}",
                cause=_last_line(directory / LOG) or f"{record} could not be written",
                hints=[f"cat {directory / LOG}"],
            )
        child.stdin.write(b"go\n")
        child.stdin.flush()
        child.stdout.read()
    return process


_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def _last_line(log: Path) -> str:
    lines = log.read_bytes()[-4096:].decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _reap(process: ProcessId) -> None:
    child = _children.get(process)
    if child is not None and (status := child.poll()) is not None:
        _statuses[process] = status
        _children.pop(process, None)
        while len(_statuses) > _REMEMBERED:
            del _statuses[next(iter(_statuses))]


async def _readable(handle: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)


def _stat(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {pid}") from None


def _parse(stat: bytes, boot_id: str) -> tuple[ProcessId, str]:
    # The program's name (field 2) may hold spaces and parentheses: the last one ends it
    head, _, tail = stat.rpartition(b")")
    fields = tail.split()
    if len(fields) < 20 or not boot_id:
        raise ValueError("not the text of /proc/PID/stat")
    process = ProcessId(
        pid=int(head.split(None, 1)[0]), start_ticks=int(fields[19]), boot_id=boot_id
    )
    return process, fields[0].decode("ascii")


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
