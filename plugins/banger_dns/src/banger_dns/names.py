"""What the responder and the command line both know of names. Standard library only."""

from __future__ import annotations

import hashlib
import ipaddress

ZONE = "vm"
"""The top-level domain of VMs: ``NAME.vm``."""

DEFAULT_PORT = 10053
"""Where the responder listens: 53 belongs to root and to the host's own resolver."""

PROBE = "_probe"
"""``NONCE._probe.vm`` has an address that only this responder can know: ``probe_address``."""


def probe_address(token: str, nonce: str) -> str:
    """The loopback address that ``NONCE._probe.vm`` has at the responder with ``token``."""
    digest = hashlib.sha256(f"{token}/{nonce}".encode()).digest()
    return f"127.{digest[0] | 0x80}.{digest[1]}.{digest[2]}"


def reverse_zone(text: str) -> str:
    """The zone of a network's reverse names: ``127.in-addr.arpa`` for ``127.0.0.0/8``."""
    network = ipaddress.ip_network(text)
    bits = 8 if network.version == 4 else 4
    labels = network.network_address.reverse_pointer.split(".")
    return ".".join(labels[(network.max_prefixlen - network.prefixlen) // bits :])
