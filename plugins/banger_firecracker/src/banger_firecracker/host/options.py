"""What the daemon tells the host program, as JSON in its first argument. Standard library only."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

CONSOLE, CONTROL = "console.sock", "control.sock"
LOG_FIFO, METRICS_FIFO = "log.fifo", "metrics.fifo"
LOG, METRICS, END = "firecracker.log", "metrics.json", "end"
"""Names in the VM's runtime directory."""

TAP, UPLINK, BRIDGE = "tap0", "slirp0", "br0"
"""Interfaces in the VM's own network namespace: the guest's, the way out, and what joins them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The VM's own network namespace. ``address`` and ``netmask`` are the bridge's, ``guest`` the
    guest's address; ``slirp`` is the program that leads outside (empty: there is no way out),
    ``cidr`` its network, ``host_access`` whether it leads to the host's own loopback, ``fence`` a
    filter (an array of ``struct sock_filter``, in hexadecimal) for what the guest may send there,
    ``held`` whether the guest's interface stays down until the relay is told to connect it.
    """

    address: str
    netmask: str
    guest: str
    cidr: str = ""
    slirp: str = ""
    host_access: bool = False
    fence: str = ""
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``directory`` is the VM's runtime directory, ``fifos`` where Firecracker's log and metrics
    come in; ``owner`` is the user that Firecracker will be, ``jailed`` says that a jailer is run.
    ``tap`` is somebody else's interface that a jailed Firecracker is to open (empty: none).
    """

    directory: str
    fifos: str
    owner: int
    jailed: bool = False
    tap: str = ""
    network: Network | None = None

    @classmethod
    def for_user(cls, directory: str, network: Network | None) -> Options:
        """For a Firecracker that stays what this process is."""
        return cls(directory=directory, fifos=directory, owner=os.geteuid(), network=network)

    def to_text(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Options:
        """What ``to_text`` wrote."""
        data = json.loads(text)
        network = data.pop("network")
        return cls(**data, network=Network(**network) if network else None)

    def place(self, name: str) -> Path:
        """Where a file of the runtime directory lies."""
        return Path(self.directory) / name

    def fifo(self, name: str) -> Path:
        """Where a fifo lies."""
        return Path(self.fifos) / name
