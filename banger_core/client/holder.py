"""Who is in the way of a daemon, for messages: nobody is signalled for what is found here."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

DAEMON = ("-m", "banger_core.daemon")
"""What the command line of a daemon has."""


def lock_holder(lock: Path) -> int | None:
    """Return the process that has locked a file with flock(2) for itself alone, or None when that
    is not to be seen (proc_locks(5)): it has gone meanwhile, or lives in another PID namespace.
    """
    try:
        facts = lock.stat()
        lines = Path("/proc/locks").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    for fields in map(str.split, lines):
        of_file = len(fields) > 5 and fields[5].endswith(f":{facts.st_ino}")
        if of_file and (fields[1], fields[3]) == ("FLOCK", "WRITE"):
            pid = int(fields[4])
            # An inode's number is one of its own file system's only
            if any(os.path.samestat(facts, each) for each in _open_files(pid)):
                return pid
    return None


def listener(path: Path) -> int | None:
    """Return the process that listens on a socket, or None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:
            return None
    return int(struct.unpack("3i", credentials)[0]) or None


def is_daemon(pid: int) -> bool:
    """Say whether a process looks like a daemon of banger."""
    words = _words(pid)
    return any(tuple(words[at : at + 2]) == DAEMON for at in range(len(words)))


def described(pid: int | None) -> str:
    """Name a process for people."""
    if pid is None:
        return "a process that cannot be seen from here"
    return f"process {pid} ({' '.join(_words(pid))[:100] or 'gone'})"


def _words(pid: int) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).rstrip("\0").split("\0")
    except OSError:
        return []


def _open_files(pid: int) -> Iterator[os.stat_result]:
    try:
        handles = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for handle in handles:
        try:
            yield handle.stat()
        except OSError:
            continue
