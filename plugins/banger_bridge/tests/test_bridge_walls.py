"""What the walls let through, judged by real frames: the test holds the guests' ends of taps."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from bridge_space import (
    BRIDGE,
    EVERYBODY,
    GATEWAY_MAC,
    Guest,
    arp,
    discovery,
    ethernet,
    port,
    sh,
    udp4,
    udp6,
)

A, B, C = 5, 6, 7
GATEWAY = bytes([10, 201, 0, 1])
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
ALL_NODES = IPv6Address("ff02::1").packed


def address6(number):
    return IPv6Address(f"fd62:616e:6765:7201::{number:x}").packed


def link_local(number):
    return IPv6Address(f"fe80::5054:aff:fec9:{number:x}").packed


def test_nothing_passes_a_tap_that_is_held(host, do):
    do("connect", port(A, host_access=True))
    do("switch", port(A, host_access=True, on=False))
    with closing(Guest(A)) as guest:
        with pytest.raises(OSError, match="Input/output error"):
            guest.send(ask_for_gateway(A))
        sh("ip", "neigh", "replace", "10.201.0.5", "lladdr", "52:54:0a:c9:00:05", "dev", "banger0")
        assert guest.received() == []
        do("switch", port(A, host_access=True, on=True))
        do("switch", port(A, host_access=True, on=True))
        guest.send(ask_for_gateway(A))
        deadline = time.monotonic() + 30
        while not (answers := guest.received()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert any(GATEWAY in frame for frame in answers)


def ask_for_gateway(number):
    mac, own = bytes.fromhex(f"52540ac900{number:02x}"), bytes([10, 201, 0, number])
    return ethernet(mac, EVERYBODY, ARP, arp(1, mac, own, GATEWAY))


@pytest.fixture
def join(host, do):
    """Connect a guest and hold its end of the tap."""
    guests = []

    def connect(number, **changes):
        do("connect", port(number, **changes))
        guest = Guest(number)
        guests.append(guest)
        # The kernel sees later that somebody holds the other end
        while '"operstate":"UP"' not in sh("ip", "-json", "link", "show", f"bgr{number:012x}"):
            time.sleep(0.01)
        # Whoever answers a guest must not have to ask for it first
        for address in (f"10.201.0.{number}", f"fd62:616e:6765:7201::{number:x}"):
            at = ("lladdr", f"52:54:0a:c9:00:{number:02x}", "dev", "banger0")
            sh("ip", "neigh", "replace", address, *at, "nud", "permanent")
        return guest

    yield connect
    for guest in guests:
        guest.close()


def frame4(source, target, data=b"hello"):
    return ethernet(source.mac, target.mac, IPV4, udp4(source.ip, target.ip, data))


def arrives(source, target, frame):
    """Say whether ``frame`` gets from ``source`` to ``target``, who are linked: a second one that
    may pass follows it, and frames do not overtake each other.
    """
    marker = frame4(source, target, b"marker %d" % time.monotonic_ns())
    deadline = time.monotonic() + 60
    seen = []
    source.send(frame)
    while marker not in seen:
        assert time.monotonic() < deadline
        source.send(marker)
        time.sleep(0.01)
        seen += target.received()
    return frame in seen


def drops(do, number):
    counted = do("counters", BRIDGE)["counters"]
    start = f"bgr{number:012x}-"
    return {
        name.removeprefix(start): each["packets"]
        for name, each in counted.items()
        if name.startswith(start) and each["packets"]
    }


@pytest.mark.parametrize("bridged_frames_are_routed", ["0", "1"])
def test_only_linked_vms_reach_each_other(join, do, bridged_frames_are_routed):
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if setting.exists():
        setting.write_text(bridged_frames_are_routed)
    a, c = join(A), join(C)
    b = join(B, links=[f"bgr{A:012x}"])
    for one, other in ((b, a), (a, b)):
        assert arrives(one, other, frame4(one, other))
        ask = ethernet(one.mac, EVERYBODY, ARP, arp(1, one.mac, one.ip, other.ip))
        assert arrives(one, other, ask)
        six = udp6(address6(one.number), address6(other.number))
        assert arrives(one, other, ethernet(one.mac, other.mac, IPV6, six))
    c.received()
    before = drops(do, C)
    for other in (a, b):
        c.send(frame4(c, other))
        c.send(ethernet(c.mac, EVERYBODY, ARP, arp(1, c.mac, c.ip, other.ip)))
        # Round the bridge, by having the host route it
        c.send(ethernet(c.mac, GATEWAY_MAC, IPV4, udp4(c.ip, other.ip)))
        c.send(ethernet(c.mac, GATEWAY_MAC, IPV6, udp6(address6(C), address6(other.number))))
    assert arrives(b, a, frame4(b, a))
    assert not [frame for guest in (a, b) for frame in guest.received() if frame[6:12] == c.mac]
    # What is for everybody is kept from each
    assert drops(do, C)["isolated"] == before.get("isolated", 0) + 6
    assert do("counters", BRIDGE)["counters"]["around"]["packets"] == 4

    # It goes with either, and nobody else's does
    a.received(), b.received()
    do("disconnect", port(B, links=[f"bgr{A:012x}"]))
    a.send(ethernet(a.mac, EVERYBODY, ARP, arp(1, a.mac, a.ip, b.ip)))
    assert "isolated" in drops(do, A)


def test_walls_open_and_close_while_machines_run(join, do):
    a, b = join(A), join(B)
    outside = ethernet(b.mac, GATEWAY_MAC, IPV4, udp4(b.ip, bytes([198, 51, 100, 2])))
    b.send(frame4(b, a))
    b.send(outside)
    kept_back = drops(do, B)
    assert (kept_back["isolated"], kept_back["outbound"]) == (1, 1)
    do("change", port(B, links=[f"bgr{A:012x}"], outbound=True))
    assert arrives(b, a, frame4(b, a))
    assert arrives(a, b, frame4(a, b))
    b.send(outside)
    # Nothing is counted anew, and nothing is kept back
    assert drops(do, B) == kept_back
    do("change", port(B))
    b.send(frame4(b, a))
    b.send(outside)
    again = drops(do, B)
    assert again["isolated"] == kept_back["isolated"] + 1
    assert again["outbound"] == kept_back["outbound"] + 1


def lies(b, a, c):
    """Frames of ``b``'s to ``a``, by what is wrong with them; ``c`` is a third."""
    return {
        "somebody else's hardware address": ethernet(c.mac, a.mac, IPV4, udp4(b.ip, a.ip)),
        "somebody else's address": ethernet(b.mac, a.mac, IPV4, udp4(c.ip, a.ip)),
        "the host's address": ethernet(b.mac, a.mac, IPV4, udp4(GATEWAY, a.ip)),
        "an address of elsewhere": ethernet(b.mac, a.mac, IPV4, udp4(b"\x08\x08\x08\x08", a.ip)),
        "ARP for the gateway": ethernet(b.mac, EVERYBODY, ARP, arp(2, b.mac, GATEWAY, a.ip, a.mac)),
        "ARP with another's hardware address": ethernet(
            b.mac, a.mac, ARP, arp(2, c.mac, b.ip, a.ip, a.mac)
        ),
        "somebody else's IPv6 address": ethernet(
            b.mac, a.mac, IPV6, udp6(address6(C), address6(A))
        ),
        "somebody else's link-local address": ethernet(
            b.mac, a.mac, IPV6, udp6(link_local(C), link_local(A))
        ),
        "an advertisement for another": ethernet(
            b.mac, a.mac, IPV6, discovery(136, address6(B), address6(A), address6(C))
        ),
        "an advertisement for the gateway": ethernet(
            b.mac,
            a.mac,
            IPV6,
            discovery(136, link_local(B), ALL_NODES, address6(1), b"\2\1" + b.mac),
        ),
        "an advertisement of another's hardware address": ethernet(
            b.mac,
            a.mac,
            IPV6,
            discovery(136, address6(B), address6(A), address6(B), b"\2\1" + c.mac),
        ),
        "a solicitation from another's hardware address": ethernet(
            b.mac,
            a.mac,
            IPV6,
            discovery(135, address6(B), address6(A), address6(A), b"\1\1" + c.mac),
        ),
        "options behind which others hide": ethernet(
            b.mac,
            a.mac,
            IPV6,
            discovery(
                136, address6(B), address6(A), address6(B), b"\x0e\1" + b"\0" * 6 + b"\2\1" + c.mac
            ),
        ),
        "an advertisement of a router": ethernet(
            b.mac, a.mac, IPV6, discovery(134, link_local(B), ALL_NODES, b"\0" * 8)
        ),
        "a redirect": ethernet(
            b.mac,
            a.mac,
            IPV6,
            discovery(137, link_local(B), address6(A), address6(1) + address6(C)),
        ),
        "a VLAN": ethernet(b.mac, a.mac, 0x8100, b"\0\1\x08\0" + udp4(b.ip, a.ip)),
        "another protocol": ethernet(b.mac, a.mac, 0x88CC, b"\0" * 50),
    }


def test_nobody_speaks_as_another(join, do):
    a, c = join(A), join(C)
    b = join(B, links=[f"bgr{A:012x}"])
    assert arrives(b, a, frame4(b, a))
    before = drops(do, B).get("spoofed", 0)
    told = lies(b, a, c)
    passed = [what for what, frame in told.items() if arrives(b, a, frame)]
    assert passed == []
    assert drops(do, B)["spoofed"] == before + len(told)
    honest = [
        ethernet(b.mac, EVERYBODY, ARP, arp(1, b.mac, b"\0\0\0\0", b.ip)),
        ethernet(b.mac, EVERYBODY, ARP, arp(1, b.mac, b.ip, b.ip)),
        ethernet(
            b.mac,
            a.mac,
            IPV6,
            discovery(135, address6(B), address6(A), address6(A), b"\1\1" + b.mac),
        ),
        ethernet(
            b.mac,
            a.mac,
            IPV6,
            discovery(136, address6(B), address6(A), address6(B), b"\2\1" + b.mac),
        ),
        ethernet(b.mac, a.mac, IPV6, discovery(136, link_local(B), address6(A), link_local(B))),
        ethernet(b.mac, a.mac, IPV6, udp6(link_local(B), link_local(A))),
    ]
    assert [arrives(b, a, frame) for frame in honest] == [True] * len(honest)
    assert drops(do, B)["spoofed"] == before + len(told)


class Server:
    """Hears UDP at every address of the namespace that it is made in."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.bind(("::", 9))
        self.socket.setblocking(False)

    def close(self):
        self.socket.close()

    def heard(self):
        found = []
        while True:
            try:
                data, sender = self.socket.recvfrom(999)
            except BlockingIOError:
                return found
            found.append((data.decode(), sender[0].removeprefix("::ffff:")))


def hears(server, guest, frames, marker):
    """What ``server`` hears of ``frames``, and of ``marker`` which it may hear."""
    for frame in frames:
        guest.send(frame)
    heard, deadline = [], time.monotonic() + 60
    while not any(data == "marker" for data, _ in heard):
        assert time.monotonic() < deadline
        guest.send(marker)
        time.sleep(0.01)
        heard += server.heard()
    return [each for each in heard if each[0] != "marker"]


def to_host(guest, address, data):
    return ethernet(guest.mac, GATEWAY_MAC, IPV4, udp4(guest.ip, address, data))


def test_the_host_is_closed_unless_allowed(join, do):
    shut, free = join(A), join(B, host_access=True)
    own = [GATEWAY, bytes([198, 51, 100, 1]), bytes([127, 0, 0, 1])]
    with closing(Server()) as server:
        marker = to_host(free, GATEWAY, b"marker")
        assert hears(server, free, [], marker) == []
        before = drops(do, A).get("host", 0)
        for address in own:
            shut.send(to_host(shut, address, b"in"))
        six = udp6(address6(A), address6(1), b"in")
        shut.send(ethernet(shut.mac, GATEWAY_MAC, IPV6, six))
        assert hears(server, free, [to_host(free, own[1], b"free")], marker) == [
            ("free", "10.201.0.6")
        ]
        # The loopback address is no guest's to send to: the kernel drops it before the walls do
        assert drops(do, A)["host"] == before + 3
    # Told at once, not after its patience
    refused = [frame for frame in shut.received() if frame[12:14] == b"\x08\0" and frame[23] == 1]
    assert [frame[34:36] for frame in refused] == [b"\x03\x0d"] * 2


def test_the_way_out_is_by_the_hosts_address_and_never_to_metadata(host, join, do):
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    shut, free, all_of_it = (
        join(A),
        join(B, outbound=True),
        join(C, outbound=True, host_access=True),
    )
    outside, metadata = bytes([198, 51, 100, 2]), bytes([169, 254, 169, 254])
    outside6 = IPv6Address("2001:db8::2").packed
    with host.outside.inside():
        server = Server()
    with closing(server):
        marker = to_host(free, outside, b"marker")
        assert hears(server, free, [], marker) == []
        before = drops(do, A).get("outbound", 0)
        shut.send(to_host(shut, outside, b"shut"))
        shut.send(to_host(shut, metadata, b"shut"))
        six = ethernet(shut.mac, GATEWAY_MAC, IPV6, udp6(address6(A), outside6, b"shut"))
        shut.send(six)
        assert hears(server, free, [to_host(free, metadata, b"secret")], marker) == []
        assert drops(do, A)["outbound"] == before + 2
        assert drops(do, A)["metadata"] == 1
        assert drops(do, B)["metadata"] == 1
        six = ethernet(free.mac, GATEWAY_MAC, IPV6, udp6(address6(B), outside6, b"six"))
        assert hears(server, free, [six], marker) == [("six", "2001:db8::1")]
        allowed = to_host(all_of_it, metadata, b"allowed")
        last = to_host(all_of_it, outside, b"marker")
        assert hears(server, all_of_it, [allowed], last) == [("allowed", "198.51.100.1")]
        assert drops(do, C).get("metadata") is None

        # What was asked for comes back; what was not does not come in
        free.received()
        free.send(to_host(free, outside, b"ask"))
        while not (asked := [each for each in _raw(server) if each[0] == b"ask"]):
            time.sleep(0.01)
        server.socket.sendto(b"answer", asked[0][1])
        with host.outside.inside():
            sh("ip", "route", "add", "10.201.0.0/24", "via", "198.51.100.1")
        server.socket.sendto(b"uninvited", ("::ffff:10.201.0.6", 4000))
        server.socket.sendto(b"answer", asked[0][1])
        answers, deadline = [], time.monotonic() + 60
        while len(answers) < 2:
            assert time.monotonic() < deadline
            answers += [frame for frame in free.received() if frame.endswith(b"answer")]
            time.sleep(0.01)
        assert not [frame for frame in free.received() if frame.endswith(b"uninvited")]
        assert do("counters", BRIDGE)["counters"]["inbound"]["packets"] == 1


def _raw(server):
    found = []
    while True:
        try:
            found.append(server.socket.recvfrom(999))
        except BlockingIOError:
            return found
