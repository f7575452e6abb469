"""Loopback addresses of our own: one per VM, so that ports keep their numbers."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import os
import socket
from collections.abc import Collection, Iterator, Sequence

from banger_core.api import Conflict, HostNotReady, Publish

POOL = ipaddress.ip_network("127.64.0.0/10")
"""Loopback addresses that no common program uses; banger takes its own from here."""

SSH_PORTS = (2222, 12222, 22222, 32222)
"""Host ports for SSH, best first; all that follow are for hosts where something listens on the
first one on every address.
"""

_TRIES = 16
_OBSTACLES = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)


def pick(vm_id: str, taken: Collection[str], publish: Sequence[Publish] = ()) -> tuple[str, int]:
    """Return an address of ``POOL`` that is not ``taken``, on which all of ``publish`` are free,
    and a port that is free there for SSH.

    The same ``vm_id`` gives the same address while that is free. Raises Conflict when a port to
    be published is taken on every address, HostNotReady when nothing can be bound.
    """
    wanted = {each.host_port for each in publish if each.protocol == "tcp"}
    for port in SSH_PORTS:
        if port in wanted:
            continue
        for address in _candidates(vm_id):
            if (
                address not in taken
                and can_bind(address, port)
                and all(can_bind(address, each.host_port, each.protocol) for each in publish)
            ):
                return address, port
    for each in publish:
        check_port(next(_candidates(vm_id)), each)
    raise HostNotReady(
        f"no loopback address in {POOL} is free for SSH",
        cause=f"none of ports {', '.join(map(str, SSH_PORTS))} could be bound",
        hints=["ss -ltn", "ip -4 addr show dev lo"],
    )


def check_port(address: str, publish: Publish, advice: str = "--publish {free}:{guest}") -> None:
    """Raise Conflict or HostNotReady when ``publish`` is not possible on ``address`` now.
    ``advice`` is the last hint, with places for a port that may be ``free``, and the two asked for.
    """
    port, protocol = publish.host_port, publish.protocol
    problem = _obstacle(address, port, protocol)
    if problem == errno.EACCES:
        free = 8000 + port if port < 1000 else port + 10000
        raise HostNotReady(
            f"port {port} cannot be published by this user",
            cause="the kernel keeps low ports for root (net.ipv4.ip_unprivileged_port_start)",
            hints=[advice.format(free=free, guest=publish.guest_port, host=port)],
        )
    if problem:
        family = "u" if protocol == "udp" else "t"
        raise Conflict(
            f"{protocol} port {port} is taken on {address}",
            cause=f"a program listens there, or on every address of this host: "
            f"{os.strerror(problem)}",
            hints=[
                f"sudo ss -ln{family}p 'sport = :{port}'   (says which program)",
                advice.format(free=port % 50000 + 10000, guest=publish.guest_port, host=port),
            ],
        )


def can_bind(address: str, port: int, protocol: str = "tcp") -> bool:
    """Say whether a server could listen there now."""
    return not _obstacle(address, port, protocol)


def _obstacle(address: str, port: int, protocol: str) -> int:
    """Return the error number that keeps a server from listening there, or 0."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if protocol == "tcp":
            # As QEMU does: connections that linger in TIME_WAIT are no obstacle, a listener is
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            if protocol == "tcp":
                probe.listen(1)
        except OSError as problem:
            if problem.errno in _OBSTACLES:
                return problem.errno
            raise
    return 0


def _candidates(vm_id: str) -> Iterator[str]:
    for attempt in range(_TRIES):
        digest = hashlib.sha256(f"{vm_id}/{attempt}".encode()).digest()
        offset = int.from_bytes(digest[:4]) % POOL.num_addresses
        # Last octets 0 and 255 are legal here, but some tools take them for a network's own
        yield str(POOL[offset & ~0xFF | 1 + digest[4] % 254])
