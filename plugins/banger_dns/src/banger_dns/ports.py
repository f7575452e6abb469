"""Who has a port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from banger_dns.server import bind

TABLES = ("udp", "tcp", "udp6", "tcp6")


def obstacle(address: str, port: int) -> OSError | None:
    """Return what keeps a server from listening there over UDP and TCP, or None."""
    try:
        for made in bind(address, port):
            made.close()
    except OSError as problem:
        return problem
    return None


def holders(port: int) -> list[str]:
    """Return the programs that use ``port``, as ``NAME (pid N)``; those of other users are seen by
    root only.
    """
    sockets = {inode for table in TABLES for inode in _sockets(table, port)}
    return sorted({f"{_name(pid)} (pid {pid})" for pid in _users(sockets)})


def _sockets(table: str, port: int) -> Iterator[str]:
    """Yield the inodes of the sockets that are bound to ``port``; see proc(5), /proc/net/tcp."""
    try:
        lines = Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        # 0A: a TCP socket that listens; 07: a UDP socket without a peer
        if int(fields[1].rpartition(":")[2], 16) == port and fields[3] in ("0A", "07"):
            yield fields[9]


def _users(sockets: set[str]) -> Iterator[int]:
    wanted = {f"socket:[{inode}]" for inode in sockets}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                for handle in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(handle.readlink()) in wanted:
                            yield int(process.name)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "a process"
