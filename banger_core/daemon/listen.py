"""The daemon's socket: private from birth, and never taken from a living daemon."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from banger_core.config.paths import check_socket_room, secure_dir
from banger_core.errors import DaemonUnavailable, HostNotReady

BACKLOG = 128


def bind(path: Path) -> socket.socket:
    """Bind and listen on ``path``, which gets mode 0600 from the umask, not by a later chmod.

    The caller holds the daemon's lock; a socket file that nobody answers on is stale and is
    replaced. Raises DaemonUnavailable when somebody does answer, HostNotReady when the path is
    too long for a socket or is no socket.
    """
    check_socket_room(path.parent)
    secure_dir(path.parent)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    except OSError as problem:
        listener.close()
        raise HostNotReady(f"cannot listen on {path}", cause=str(problem)) from problem
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def unbind(path: Path, listener: socket.socket) -> None:
    """Close the listener and remove its file, unless somebody else listens there by now."""
    listener.close()
    with suppress(HostNotReady, DaemonUnavailable):
        _remove_stale(path)


def _remove_stale(path: Path) -> None:
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(facts.st_mode):
        raise HostNotReady(
            f"{path} is no socket",
            cause="banger does not remove what it did not make",
            hints=[f"mv {path} {path}.old"],
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError as problem:
            # Somebody listens whose queue is full, or whom we may not ask
            cause = problem.strerror or str(problem)
        else:
            cause = "it does not hold the daemon's lock"
    raise DaemonUnavailable(
        f"something else listens on {path}",
        cause=cause,
        hints=["banger daemon stop", f"ss --listening --processes --unix | grep {path}"],
    )
