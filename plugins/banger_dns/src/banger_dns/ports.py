"""Who has a port."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path

from banger_core.api import Conflict, HostNotReady
from banger_dns.names import DEFAULT_PORT
from banger_dns.server import bind

DNS_PORT = 53
LAST_PORT = 65535
TABLES = ("udp", "tcp", "udp6", "tcp6")


def obstacle(address: str, port: int) -> OSError | None:
    """Return what keeps a server from listening there over UDP and TCP, or None."""
    try:
        for made in bind(address, port):
            made.close()
    except OSError as problem:
        return problem
    return None


def check(address: str, port: int, *, serve: bool = False) -> None:
    """Raise Conflict when another program has the address, HostNotReady when this
    user must not have it, or this host does not have it. ``serve`` says that it was asked for on
    the command line of ``dns serve``, and not in the configuration.
    """
    problem = obstacle(address, port)
    if problem is None:
        return
    what = f"{address} port {port}"
    if problem.errno == errno.EADDRINUSE:
        found = holders(port)
        raise Conflict(
            f"the names of machines cannot be served: {what} is taken",
            cause=f"by {', '.join(found)}" if found else "by a program of another user",
            hints=[
                f"sudo ss -lnptu 'sport = :{port}'   (says which program)",
                _elsewhere(address, port, serve=serve),
            ],
        )
    if problem.errno == errno.EACCES:
        raise HostNotReady(
            f"the names of machines cannot be served: {what} is not for this user",
            cause="the kernel keeps low ports for root (net.ipv4.ip_unprivileged_port_start)",
            hints=[
                f"sudo sysctl net.ipv4.ip_unprivileged_port_start={port}",
                _instead("port", DEFAULT_PORT, serve=serve),
            ],
        )
    raise HostNotReady(
        f"the names of machines cannot be served: {what} cannot be had",
        cause=problem.strerror or str(problem),
        hints=["ip addr", _instead("address", "127.0.0.1", serve=serve)],
    )


def _elsewhere(address: str, port: int, *, serve: bool) -> str:
    """What to try in place of what is taken: port 53 is worth another address."""
    at = ipaddress.ip_address(address)
    if port == DNS_PORT and at.version == 4 and at.is_loopback:
        return _instead("address", str(at + 1), serve=serve)
    return _instead("port", port + 1 if port < LAST_PORT else port - 1, serve=serve)


def _instead(key: str, value: str | int, *, serve: bool) -> str:
    if serve:
        return f"banger dns serve --{key} {value}"
    return f"set {key} = {json.dumps(value)} in [plugins.dns], then banger daemon stop"


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
