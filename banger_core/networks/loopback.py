"""Loopback addresses of our own: one per VM, so that ports keep their numbers."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import socket
from collections.abc import Collection, Iterator

from banger_core.errors import HostNotReady

POOL = ipaddress.ip_network("127.64.0.0/10")
"""Loopback addresses that no common program uses; banger takes its own from here."""

SSH_PORTS = (2222, 12222, 22222, 32222)
"""Host ports for SSH, best first; all that follow are for hosts where something listens on the
first one on every address.
"""

_TRIES = 16


def pick(vm_id: str, taken: Collection[str]) -> tuple[str, int]:
    """Return an address of ``POOL`` that is not ``taken`` and a port that is free there.

    The same ``vm_id`` gives the same address while that is free. Raises HostNotReady when
    nothing can be bound.
    """
    for port in SSH_PORTS:
        for address in _candidates(vm_id):
            if address not in taken and can_bind(address, port):
                return address, port
    raise HostNotReady(
        f"no loopback address in {POOL} is free for SSH",
        cause=f"none of ports {', '.join(map(str, SSH_PORTS))} could be bound",
        hints=["ss -ltn", "ip -4 addr show dev lo"],
    )


def can_bind(address: str, port: int) -> bool:
    """Say whether a TCP server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As QEMU does: connections that linger in TIME_WAIT are no obstacle, a listener is
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as problem:
            if problem.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
                return False
            raise
    return True


def _candidates(vm_id: str) -> Iterator[str]:
    for attempt in range(_TRIES):
        digest = hashlib.sha256(f"{vm_id}/{attempt}".encode()).digest()
        offset = int.from_bytes(digest[:4]) % POOL.num_addresses
        # Last octets 0 and 255 are legal here, but some tools take them for a network's own
        yield str(POOL[offset & ~0xFF | 1 + digest[4] % 254])
