"""The fence around the user network, judged by the kernel: frames go through the real filter."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Network

import pytest

from banger_core.api import NetPlan
from banger_core.networks.fence import Fence, lowest_ephemeral, open_pair, own_addresses, program

GATEWAY, RESOLVER, OUTSIDE = "10.0.2.2", "10.0.2.3", "198.51.100.7"
OWN = [IPv4Network("192.0.2.2/32"), IPv4Network("172.17.0.1/32"), IPv4Network("203.0.113.0/28")]
TCP, UDP, ICMP = 6, 17, 1
SYN, ACK, RST, PSH = 2, 16, 4, 8


def frame(to, protocol=TCP, *, source=40000, port=80, flags=SYN, fragment=0x4000, words=0):
    """A frame of the guest's; ``words`` are 32-bit words of IP options."""
    ports = struct.pack("!HH", source, port)
    rest = b"\0" * 9 + bytes([flags]) + b"\0" * 6 if protocol == TCP else b"\0" * 4
    head = bytes([0x45 + words]) + b"\0" * 5 + struct.pack("!H", fragment) + bytes([64, protocol])
    addresses = socket.inet_aton("10.0.2.15") + socket.inet_aton(to)
    ip = head + b"\0\0" + addresses + b"\1" * 4 * words + ports + rest
    return b"\x52" * 12 + b"\x08\x00" + ip


def plan(**changes):
    return NetPlan(
        **{
            "network": "user",
            "kind": "user",
            "guest_address": "10.0.2.15/24",
            "gateway": GATEWAY,
            "nameserver": RESOLVER,
            **changes,
        }
    )


class Gate:
    def __init__(self, udp_ports=(53,), **changes):
        fence = Fence.around(plan(**changes))
        assert fence is not None
        self.guest, self.host = open_pair(program(fence, OWN, udp_ports, 32768))
        self.host.setblocking(False)

    def passes(self, data):
        self.guest.send(data)
        try:
            return self.host.recv(2000) == data
        except BlockingIOError:
            return False


@pytest.fixture
def gate():
    gates = []

    def make(**changes):
        gates.append(Gate(**changes))
        return gates[-1].passes

    yield make
    for each in gates:
        each.guest.close()
        each.host.close()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.85.12.9", "0.0.0.0", "0.1.2.3"),
        *("192.0.2.2", "172.17.0.1", "203.0.113.15"),
        *("10.0.2.4", "10.0.2.255", "224.0.0.251", "255.255.255.255"),
    ],
)
@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP, 132])
@pytest.mark.parametrize("fragment", [0, 0x4000, 0x2000, 0x2001, 0x0004])
def test_the_host_has_no_way_in(gate, address, protocol, fragment):
    assert not gate()(frame(address, protocol, fragment=fragment))


@pytest.mark.parametrize("address", [OUTSIDE, "192.0.2.3", "10.0.3.2", "203.0.113.16"])
@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
@pytest.mark.parametrize("fragment", [0x4000, 0x2000, 0x2001])
def test_the_outside_is_open(gate, address, protocol, fragment):
    assert gate()(frame(address, protocol, fragment=fragment))
    assert not gate(outbound=False)(frame(address, protocol, fragment=fragment))


@pytest.mark.parametrize("words", [0, 1, 10])
def test_only_what_begins_a_connection_is_kept_from_the_gateway(gate, words):
    passes = gate()
    for begins in (SYN, SYN | PSH, SYN | RST, SYN | 0xC0):
        assert not passes(frame(GATEWAY, flags=begins, words=words))
    for answers in (SYN | ACK, ACK, ACK | PSH, RST, 1 | ACK):
        assert passes(frame(GATEWAY, flags=answers, words=words))
    assert not passes(frame(GATEWAY, flags=ACK, fragment=0x2000))
    assert not passes(frame(GATEWAY, flags=ACK, fragment=1))


@pytest.mark.parametrize("words", [0, 3])
def test_published_ports_answer_clients_in_udp(gate, words):
    passes = gate(udp_ports=(53, 5353))
    for source in (53, 5353):
        assert passes(frame(GATEWAY, UDP, source=source, port=45000, words=words))
        assert passes(frame(GATEWAY, UDP, source=source, port=45000, fragment=0x2000))
        assert not passes(frame(GATEWAY, UDP, source=source, port=5353, words=words))
        assert not passes(frame(GATEWAY, UDP, source=source, port=161, fragment=0x2000))
    assert not passes(frame(GATEWAY, UDP, source=54, port=45000, words=words))
    assert not gate(udp_ports=())(frame(GATEWAY, UDP, source=53, port=45000, words=words))


def test_the_resolver_is_asked_for_names_only(gate):
    passes = gate()
    for protocol in (TCP, UDP):
        assert passes(frame(RESOLVER, protocol, port=53))
        assert passes(frame(RESOLVER, protocol, port=53, words=2))
        assert not passes(frame(RESOLVER, protocol, port=80))
        assert not passes(frame(RESOLVER, protocol, port=53, fragment=0x2000))


def test_leases_may_be_asked_for(gate):
    for address in (GATEWAY, "255.255.255.255"):
        assert gate()(frame(address, UDP, source=68, port=67))


def test_access_to_the_host_is_to_the_gateway(gate):
    passes = gate(outbound=False, host_access=True)
    assert passes(frame(GATEWAY))
    assert passes(frame(GATEWAY, UDP))
    assert not any(passes(frame(address)) for address in (OUTSIDE, "127.0.0.1", "192.0.2.2"))
    assert Fence.around(plan(host_access=True)) is None
    assert Fence.around(plan(kind="tap")) is None


def test_frames_of_other_kinds(gate):
    passes = gate()
    assert passes(b"\x52" * 12 + b"\x08\x06" + b"\0" * 28)
    for kind in (b"\x86\xdd", b"\x81\x00", b"\x88\xa8", b"\x00\x10"):
        assert not passes(b"\x52" * 12 + kind + b"\0" * 40)
    whole = frame(OUTSIDE)
    assert not any(passes(whole[:length]) for length in range(1, 34))


def test_a_hundred_published_ports_fit(gate):
    passes = gate(udp_ports=range(1, 201))
    assert passes(frame(GATEWAY, UDP, source=200, port=45000))
    assert not passes(frame(GATEWAY, UDP, source=201, port=45000))
    assert passes(frame(OUTSIDE))


def test_addresses_of_this_host(tmp_path):
    trie = tmp_path / "fib_trie"
    trie.write_text(
        """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 192.0.2.2
              /32 link UNICAST
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
"""
    )
    assert own_addresses(trie) == {IPv4Network("127.0.0.0/8"), IPv4Network("192.0.2.2/32")}
    assert IPv4Network("127.0.0.1/32") in own_addresses()
    assert 1024 <= lowest_ephemeral() < 65536
