"""Reaching the daemon: start it on demand, and agree on a version.

Many CLIs may do this at once. Each starts a daemon when nobody answers; the daemons settle by a
lock who stays, the others leave with status 0, and every CLI ends up at the winner.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from banger_core import __version__
from banger_core.client.client import PROMPT, Client, url
from banger_core.config.paths import SOCKET_PATH_MAX, Paths, secure_dir
from banger_core.errors import BangerError, DaemonUnavailable, HostNotReady

PATIENCE = 30.0
"""How long a daemon may take to answer after its start, or to leave when asked (seconds)."""

DAEMON = (sys.executable, "-P", "-m", "banger_core.daemon")
"""The daemon's command line: the same Python and the same installation as this one."""

_PAUSE = 0.02
# Never waiting for the other end of a FIFO, nor going where a link points
_ADDRESS_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def connect(paths: Paths, tell: Callable[[str], None]) -> Client:
    """Return a client of a running daemon of this version; start or replace one when needed.

    ``tell`` gets lines for the user. Raises what the daemon gave as its reason not to start,
    and DaemonUnavailable when it gave none, when the one that answers is not to be trusted, or when
    it is newer than this program.
    """
    if (found := running(paths, tell)) is None:
        start(paths, tell)
        client = Client(paths.socket)
        found = client, client.status()
    client, status = found
    theirs = str(status.get("version", ""))
    if theirs == __version__:
        return client
    if _rank(theirs) > _rank(__version__):
        raise DaemonUnavailable(
            f"this banger ({__version__}) is older than the running daemon ({theirs})",
            hints=["use the newer banger", "banger daemon stop (virtual machines go on running)"],
        )
    tell(
        f"the daemon ({theirs or 'unknown version'}) is older than this banger ({__version__}): "
        "replacing it; virtual machines go on running"
    )
    stop(client, paths)
    start(paths, tell)
    return Client(paths.socket)


def running(
    paths: Paths, tell: Callable[[str], None] | None = None
) -> tuple[Client, dict[str, Any]] | None:
    """Return a client of the running daemon of whatever version and its status, or None.

    ``tell`` hears of one that keeps silent; without it nothing is waited for. Raises
    DaemonUnavailable when it keeps silent for long.
    """
    client = Client(paths.socket)
    try:
        return client, client.status(_Patience(paths.socket, tell))
    except DaemonUnavailable:
        if paths.socket.exists() and not _is_stale(paths.socket):
            raise
        return _elsewhere(paths, tell)


def stop(client: Client, paths: Paths) -> None:
    """Ask the daemon to leave, and wait until it has let go of its state.

    Virtual machines go on running. Raises DaemonUnavailable when it stays.
    """
    client.call("POST", url("stop"))
    deadline = time.monotonic() + PATIENCE
    while not _is_free(paths.daemon_lock):
        if time.monotonic() > deadline:
            from banger_core.client.holder import described, lock_holder

            holder = described(lock_holder(paths.daemon_lock))
            raise DaemonUnavailable(
                "the daemon does not stop",
                cause=f"{holder} still holds {paths.daemon_lock} after {PATIENCE:.0f} s",
                hints=["banger daemon logs"],
            )
        time.sleep(_PAUSE)


def start(paths: Paths, tell: Callable[[str], None]) -> None:
    """Start a daemon and return when one answers on the socket.

    ``tell`` hears who holds the lock of the daemon and does not answer. Raises DaemonUnavailable,
    or the reason that the daemon gave.
    """
    for directory in (paths.state, paths.runtime):
        secure_dir(directory)
    began = time.monotonic()
    deadline = began + PATIENCE
    locked_out = _LockedOut(paths.daemon_lock, tell, began + PROMPT)
    log = paths.daemon_log
    offset = log.stat().st_size if log.exists() else 0
    child: int | None = None
    while not _answers(paths.socket, deadline):
        if child is None and not locked_out.look():
            child = _launch(log)
        if child is not None and (status := _ended(child)) is not None:
            child = None
            if status:
                raise _died(log, offset)
            # Status 0: another one holds the lock, and may itself be about to leave
            locked_out.look(surely=True)
        if time.monotonic() > deadline:
            raise DaemonUnavailable(
                f"the daemon does not answer {PATIENCE:.0f} s after its start",
                cause=locked_out.cause or _last_line(log, offset),
                hints=["banger daemon logs"],
            )
        time.sleep(_PAUSE)


class _Patience:
    """With a daemon that has been reached and keeps silent: it may settle its past, or hang."""

    def __init__(self, path: Path, tell: Callable[[str], None] | None) -> None:
        self._path, self._tell = path, tell
        self._began = time.monotonic()
        self._told = False

    def __call__(self) -> None:
        """Say once who keeps silent. Raises DaemonUnavailable when it has for too long."""
        from banger_core.client.holder import described, listener

        pid = listener(self._path)
        silent = time.monotonic() - self._began
        if self._tell is None or silent > PATIENCE:
            raise DaemonUnavailable(
                "bangerd does not answer",
                cause=f"{described(pid)} has kept silent for {silent:.0f} s",
                hints=[
                    "banger daemon logs",
                    f"kill -9 {pid or 'PID'} if it hangs: virtual machines go on running",
                ],
            )
        if not self._told:
            self._told = True
            self._tell(f"waiting for the daemon, {described(pid)}, which does not answer yet")


class _LockedOut:
    """Another holds the daemon's lock and serves no socket: a daemon that comes or goes, or what is
    no daemon at all.
    """

    def __init__(self, lock: Path, tell: Callable[[str], None], after: float) -> None:
        self._lock, self._tell, self._after = lock, tell, after
        self.cause = ""

    def look(self, *, surely: bool = False) -> bool:
        """Return whether there is such a one, which is not always to be seen: then no daemon needs
        to be started, and many who wait do not take all the time of the one who comes. Say once who
        it is, when that takes long. Raises DaemonUnavailable when waiting is of no use.
        """
        from banger_core.client.holder import described, is_daemon, lock_holder

        pid = lock_holder(self._lock)
        if (pid is None and not surely) or time.monotonic() < self._after:
            return pid is not None
        if pid is not None and not is_daemon(pid):
            raise DaemonUnavailable(
                f"{self._lock} is locked by another program",
                cause=f"{described(pid)} holds it, so no daemon can start",
                hints=[f"end process {pid}, then run the command again"],
            )
        if not self.cause:
            self.cause = f"{described(pid)} holds {self._lock} and does not answer"
            self._tell(f"waiting: {self.cause}")
        return True


def _answers(path: Path, deadline: float) -> bool:
    # The socket is there before the daemon has settled its past: the answer may take a while
    patience = max(1.0, deadline - time.monotonic())
    try:
        Client(path).call("GET", url("status"), timeout=patience)
    except DaemonUnavailable:
        return False
    return True


def _launch(log: Path) -> int:
    from banger_core.client.process import spawn

    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    written = _open_log(log)
    before = os.umask(0o077)
    try:
        return spawn(DAEMON, files=(nothing, written, written), session=True, passed=())
    finally:
        os.umask(before)
        os.close(nothing)
        os.close(written)


def _open_log(log: Path) -> int:
    try:
        handle = os.open(log, _LOG_FLAGS, 0o600)
    except OSError as problem:
        cause = "it is a symbolic link" if log.is_symlink() else problem.strerror or str(problem)
        raise _unusable_log(log, cause) from problem
    facts = os.fstat(handle)
    if stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid():
        return handle
    os.close(handle)
    raise _unusable_log(log, "it is no regular file of this user")


def _unusable_log(log: Path, cause: str) -> HostNotReady:
    return HostNotReady(
        f"the daemon's log {log} cannot be written",
        cause=cause,
        hints=[f"ls -l {log}", f"mv {log} {log}.old"],
    )


def _ended(child: int) -> int | None:
    pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def _elsewhere(
    paths: Paths, tell: Callable[[str], None] | None
) -> tuple[Client, dict[str, Any]] | None:
    """Return the daemon of this state that has its socket elsewhere: the one who started it had
    another runtime directory.
    """
    try:
        handle = os.open(paths.daemon_address, _ADDRESS_FLAGS)
    except OSError:
        return None
    try:
        place = os.read(handle, SOCKET_PATH_MAX + 1)
    finally:
        os.close(handle)
    client = Client(Path(os.fsdecode(place)))
    try:
        status = client.status(_Patience(client.path, tell))
    except (DaemonUnavailable, ValueError):
        return None
    # The runtime directory may serve another state by now
    return (client, status) if status.get("state_dir") == str(paths.state) else None


def _is_stale(path: Path) -> bool:
    """Say whether nobody listens: connecting is refused, or there is no socket of ours."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False
    return False


def _is_free(lock: Path) -> bool:
    import fcntl

    try:
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _died(log: Path, offset: int) -> BangerError:
    """The daemon's own reason, which it leaves as JSON, or what it said last."""
    import json

    said = _last_line(log, offset)
    try:
        return BangerError.from_dict(json.loads(said))
    except (ValueError, TypeError, AttributeError):
        return DaemonUnavailable(
            "the daemon did not start",
            cause=said,
            hints=["banger daemon logs", " ".join(DAEMON)],
        )


def _last_line(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(max(offset, log.stat().st_size - 4096))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _rank(version: str) -> tuple[list[int], bool]:
    """Order versions: by their numbers, a pre-release (``1.0.dev3``, ``1.0rc1``) before its
    release. The full rules of PEP 440 are not needed among our own versions.
    """
    release = re.match(r"(\d+(?:\.\d+)*)(.*)", version)
    if release is None:
        return [], False
    return [int(part) for part in release[1].split(".")], not release[2]
