"""The vocabulary of networks, a part of ``model``. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Self

from banger_core.errors import UsageProblem

GUEST_SSH_PORT = 1022
"""Where the guest runtime's SSH server listens: privileged, so that no user of the guest can take
it over, and not 22, which belongs to the image's own sshd."""

GUEST_HELPER_PORT = 1022
"""Where the guest helper listens on vsock: privileged, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """A port of the guest that somebody asks to be published, as ``host_port`` of the VM's own
    address.
    """

    host_port: int
    guest_port: int
    protocol: Literal["tcp", "udp"] = "tcp"

    @classmethod
    def parse(cls, word: str) -> Self:
        """Read ``[HOST:]GUEST[/PROTOCOL]``. Raises UsageProblem."""
        parts = re.fullmatch(r"(?:([0-9]{1,5}):)?([0-9]{1,5})(?:/(tcp|udp))?", word)
        if not parts:
            raise UsageProblem(
                f"{word!r} names no port: ports are [HOST:]GUEST, with /udp where it is not TCP",
                cause="the address is the machine's own, so only ports are to be said",
                hints=["8080", "8080:80", "53/udp"],
            )
        host, guest = int(parts[1] or parts[2]), int(parts[2])
        for number in (host, guest):
            if not 1 <= number <= 65535:
                raise UsageProblem(
                    f"{word}: there is no port {number}",
                    cause="ports are numbers from 1 to 65535",
                    hints=["8080:80"],
                )
        protocol: Literal["tcp", "udp"] = "udp" if parts[3] == "udp" else "tcp"
        return cls(host_port=host, guest_port=guest, protocol=protocol)

    def __str__(self) -> str:
        same = self.host_port == self.guest_port
        ports = str(self.guest_port) if same else f"{self.host_port}:{self.guest_port}"
        return ports if self.protocol == "tcp" else f"{ports}/{self.protocol}"

    def at(self, host_address: str) -> Forward:
        """The forward that this is on a VM's address."""
        return Forward(
            host_address=host_address,
            host_port=self.host_port,
            guest_port=self.guest_port,
            protocol=self.protocol,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A port of the guest that the host publishes."""

    host_address: str
    host_port: int
    guest_port: int
    protocol: Literal["tcp", "udp"] = "tcp"

    @property
    def publish(self) -> Publish:
        """What was asked for, without the address."""
        return Publish(host_port=self.host_port, guest_port=self.guest_port, protocol=self.protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetPlan:
    """How one VM is connected. ``kind`` tells the driver how (``user``: the VMM's own user-mode
    network; ``none``: no network card; ``tap``: a host interface named ``tap``). Addresses of the
    guest are ``IP/PREFIX``. ``outbound`` says whether it may reach the outside, ``host_access``
    whether it may reach services of the host, ``links`` names the taps of VMs that it may reach,
    ``bridge`` the interface of the host that its tap is on.
    """

    network: str
    kind: str
    mac: str = ""
    host_address: str = ""
    guest_address: str = ""
    gateway: str = ""
    nameserver: str = ""
    tap: str = ""
    bridge: str = ""
    outbound: bool = True
    forwards: tuple[Forward, ...] = ()
    guest_address6: str = ""
    gateway6: str = ""
    host_access: bool = False
    links: tuple[str, ...] = ()

    @property
    def ssh(self) -> tuple[str, int]:
        """Address and port on the host that lead to the guest runtime's SSH server."""
        for forward in self.forwards:
            if forward.guest_port == GUEST_SSH_PORT:
                return forward.host_address, forward.host_port
        return self.guest_address.partition("/")[0], GUEST_SSH_PORT
