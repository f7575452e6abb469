"""A fence around a user network: which of the guest's packets it may see at all.

Such a network (libslirp) makes the guest's packets into connections of this user. The gateway's
address stands for the host's 127.0.0.1, and no address of the host is out of reach. So the packets
pass through a socket on the way, and the kernel drops there what the guest may not send: a
classic BPF program (Linux, networking/filter.rst) on it. That takes no privileges
and no other program, and nothing that a guest does can change it.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_interface
from pathlib import Path

from banger_core.api import NetPlan

Instruction = tuple[int, int, int, int]

SO_ATTACH_FILTER = 26
PACKET_LIMIT = 1 << 18
"""Bytes that may wait in the pair: a burst of large packets."""

# Opcodes (linux/bpf_common.h) of what is used here
_WORD, _HALF, _BYTE = 0x20, 0x28, 0x30
_HALF_X, _BYTE_X = 0x48, 0x50
_HEADER_LENGTH = 0xB1
_AND, _EQUAL, _AT_LEAST, _ANY_OF, _GO, _RETURN = 0x54, 0x15, 0x35, 0x45, 0x05, 0x06
_LONGEST_BRANCH = 255

# Where things lie in a frame of Ethernet (14 bytes) with IPv4 (RFC 791) in it
_ETHERTYPE, _IP, _FRAGMENT, _PROTOCOL, _DESTINATION = 12, 14, 20, 23, 30
_SOURCE_PORT, _DESTINATION_PORT, _TCP_FLAGS = 14, 16, 27
_ARP, _IPV4, _ICMP, _TCP, _UDP = 0x0806, 0x0800, 1, 6, 17
_SYN, _SYN_OR_ACK = 0x02, 0x12
_OFFSET, _OFFSET_OR_MORE = 0x1FFF, 0x3FFF
_DNS, _DHCP = 53, 67

_LOCAL = (IPv4Network("0.0.0.0/8"), IPv4Network("127.0.0.0/8"))
_MANY = IPv4Network("224.0.0.0/3")
"""Multicast, reserved, broadcast: programs of this host may listen to all of them."""

_PASS: list[Instruction] = [(_RETURN, 0, 0, 0xFFFFFFFF)]
_DROP: list[Instruction] = [(_RETURN, 0, 0, 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """What the guest may send: to its ``gateway`` (this host) only answers unless ``host_access``;
    nothing to anywhere else unless ``outbound``, and then never to the host's own addresses.
    """

    network: str
    gateway: str
    nameserver: str
    outbound: bool
    host_access: bool

    @classmethod
    def around(cls, net: NetPlan) -> Fence | None:
        """Return the fence that ``net`` takes; None when it takes none."""
        if net.kind != "user" or (net.host_access and net.outbound):
            return None
        return cls(
            network=str(ip_interface(net.guest_address).network),
            gateway=net.gateway,
            nameserver=net.nameserver,
            outbound=net.outbound,
            host_access=net.host_access,
        )


def program(
    fence: Fence, own: Iterable[IPv4Network], udp_ports: Iterable[int], ephemeral: int
) -> list[Instruction]:
    """Return the filter: it looks at one frame of the guest's and passes or drops it.

    ``own`` are the addresses of this host, ``udp_ports`` the guest's that are published,
    ``ephemeral`` the lowest port that clients on this host get.
    """
    to_gateway = _PASS if fence.host_access else _answers(udp_ports, ephemeral)
    steps = [
        *_load(_HALF, _ETHERTYPE),
        *_if(_EQUAL, _ARP, _PASS),
        *_unless(_EQUAL, _IPV4, _DROP),
        *_if_address(fence.gateway, to_gateway),
    ]
    if not fence.outbound:
        return [*steps, *_DROP]
    steps += _if_address(fence.nameserver, _only_to(_DNS, tcp=True))
    for closed in (*_LOCAL, IPv4Network(fence.network)):
        steps += _if_within(closed, _DROP)
    steps += _if_within(_MANY, _only_to(_DHCP, tcp=False))
    for network in sorted(set(own)):
        steps += _if_within(network, _DROP)
    return [*steps, *_PASS]


def filter_now(fence: Fence, udp_ports: Iterable[int]) -> list[Instruction]:
    """Return the ``program`` for the addresses that this host has now."""
    return program(fence, own_addresses(), udp_ports, lowest_ephemeral())


def packed(steps: Iterable[Instruction]) -> bytes:
    """Return the program as the kernel takes it: an array of ``struct sock_filter``."""
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def open_pair(steps: list[Instruction]) -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets for frames; the second receives only what ``steps`` pass."""
    guest, host = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    code = packed(steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
    host.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)
    for end in (guest, host):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_LIMIT)
    return guest, host


def own_addresses(trie: Path = Path("/proc/net/fib_trie")) -> set[IPv4Network]:
    """Return all IPv4 addresses at which this host answers, as its routing tables have them."""
    found, last = set(), ""
    for line in trie.read_text().splitlines():
        first, _, rest = line.strip().partition(" ")
        if first == "|--":
            last = rest
        elif rest == "host LOCAL":
            found.add(IPv4Network(last + first))
    return found


def lowest_ephemeral(path: Path = Path("/proc/sys/net/ipv4/ip_local_port_range")) -> int:
    """Return the lowest port that the kernel gives to clients."""
    return int(path.read_text().split()[0])


def _answers(udp_ports: Iterable[int], ephemeral: int) -> list[Instruction]:
    """What may go to the gateway: the guest's side of what was begun on the host.

    A published port's clients are seen there. In TCP a segment with SYN and without ACK begins a
    connection (RFC 9293, 3.5), and one that is cut in pieces could hide it. In UDP answers come
    from published ports, to ports of clients; later pieces are nothing without the first.
    """
    from_published = [step for port in sorted(set(udp_ports)) for step in _if(_EQUAL, port, _PASS)]
    return _by_protocol(
        tcp=[
            *_load(_HALF, _FRAGMENT),
            *_if(_ANY_OF, _OFFSET_OR_MORE, _DROP),
            *_load(_BYTE_X, _TCP_FLAGS),
            (_AND, 0, 0, _SYN_OR_ACK),
            *_if(_EQUAL, _SYN, _DROP),
            *_PASS,
        ],
        udp=[
            *_load(_HALF, _FRAGMENT),
            *_if(_ANY_OF, _OFFSET, _PASS),
            *_load(_HALF_X, _DESTINATION_PORT),
            *_if(_EQUAL, _DHCP, _PASS),
            *_unless(_AT_LEAST, ephemeral, _DROP),
            *_load(_HALF_X, _SOURCE_PORT),
            *from_published,
            *_DROP,
        ],
        # Echo requests: the user network answers them itself
        icmp=_PASS,
    )


def _only_to(port: int, *, tcp: bool) -> list[Instruction]:
    """One service of an address. The name server's stands for the host's resolver, which may be
    the host itself.
    """
    whole = [
        *_load(_HALF, _FRAGMENT),
        *_if(_ANY_OF, _OFFSET_OR_MORE, _DROP),
        *_load(_HALF_X, _DESTINATION_PORT),
        *_if(_EQUAL, port, _PASS),
        *_DROP,
    ]
    return _by_protocol(tcp=whole if tcp else _DROP, udp=whole, icmp=_DROP)


def _by_protocol(
    *, tcp: list[Instruction], udp: list[Instruction], icmp: list[Instruction]
) -> list[Instruction]:
    return [
        *_load(_HEADER_LENGTH, _IP),
        *_load(_BYTE, _PROTOCOL),
        *_if(_EQUAL, _TCP, tcp),
        *_if(_EQUAL, _UDP, udp),
        *_if(_EQUAL, _ICMP, icmp),
        *_DROP,
    ]


def _load(how: int, where: int) -> list[Instruction]:
    return [(how, 0, 0, where)]


def _if(test: int, value: int, then: list[Instruction]) -> list[Instruction]:
    if len(then) > _LONGEST_BRANCH:
        return [(test, 1, 0, value), (_GO, 0, 0, len(then)), *then]
    return [(test, 0, len(then), value), *then]


def _unless(test: int, value: int, then: list[Instruction]) -> list[Instruction]:
    return [(test, len(then), 0, value), *then]


def _if_address(address: str, then: list[Instruction]) -> list[Instruction]:
    if not address:
        return []
    return [*_load(_WORD, _DESTINATION), *_if(_EQUAL, int(IPv4Address(address)), then)]


def _if_within(network: IPv4Network, then: list[Instruction]) -> list[Instruction]:
    return [
        *_load(_WORD, _DESTINATION),
        (_AND, 0, 0, int(network.netmask)),
        *_if(_EQUAL, int(network.network_address), then),
    ]
