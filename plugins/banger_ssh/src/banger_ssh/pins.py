"""The lines of known_hosts as pins: shown to people, and forgotten by name."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re

from banger_core.api import GUEST_SSH_PORT, HostPin
from banger_ssh.known_hosts import HostLine, host_name, read_lines

COMMENT = b"banger:"
"""Begins the comment of every pin of a VM; the VM's id follows."""

_ID = re.compile(rb"[0-9a-f]{12}")


def pins_in(data: bytes) -> list[HostPin]:
    """Return the pins of a file. Lines without a whole key are left out, as OpenSSH does."""
    lines = enumerate(read_lines(data), 1)
    pins = (_pin(line, number) for number, line in lines if isinstance(line, HostLine))
    return [pin for pin in pins if pin is not None]


def forget_host(data: bytes, name: bytes) -> tuple[bytes, list[HostPin]]:
    """Return the file without the lines that stand for ``name``, and those lines as pins.

    A line stands for a name that it holds literally or hashed, and goes with all its names. An
    address without a port stands for all its ports; hashed ones are found for ssh's own port and
    for that of VMs. Wildcards and marked lines stay.
    """
    kept, gone = [], []
    for number, line in enumerate(read_lines(data), 1):
        if not isinstance(line, HostLine):
            kept.append(line)
        elif _stands_for(line, name.lower()) and (pin := _pin(line, number)):
            gone.append(pin)
        else:
            kept.append(line.raw)
    return b"".join(kept), gone


def _stands_for(line: HostLine, name: bytes) -> bool:
    if line.marker:
        return False
    names = {name}
    if _is_address(name):
        names |= {host_name(name.decode(), port).lower() for port in (22, GUEST_SSH_PORT)}
    if line.hosts.startswith(b"|"):
        return any(line.matches(each) for each in names)
    held = line.hosts.lower().split(b",")
    if not names.isdisjoint(held):
        return True
    return _is_address(name) and any(host.startswith(b"[" + name + b"]:") for host in held)


def _is_address(name: bytes) -> bool:
    try:
        ipaddress.ip_address(name.decode("ascii"))
    except ValueError:
        return False
    return True


def _pin(line: HostLine, number: int) -> HostPin | None:
    kind, _, text = line.key.partition(b" ")
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    digest = base64.b64encode(hashlib.sha256(blob).digest()).rstrip(b"=")
    owner = line.comment.removeprefix(COMMENT).strip()
    ours = line.comment.startswith(COMMENT) and _ID.fullmatch(owner)
    return HostPin(
        names=tuple(host.decode("utf-8", "backslashreplace") for host in line.hosts.split(b",")),
        key_type=kind.decode("ascii", "backslashreplace"),
        fingerprint=f"SHA256:{digest.decode()}",
        line=number,
        marker=line.marker.decode("ascii", "backslashreplace"),
        vm_id=owner.decode() if ours else "",
    )
