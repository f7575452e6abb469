"""Network namespaces of the tests' own: nothing here touches this host's networks."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
OWN = Path("/proc/thread-self/ns/net")

BRIDGE = {
    "bridge": "banger0",
    "owner": "0-0123456789ab",
    "gateway": "10.201.0.1/24",
    "gateway6": "fd62:616e:6765:7201::1/64",
}
FOREIGN = """
table inet theirs {
  set known { type ipv4_addr; elements = { 192.0.2.1 }; }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip saddr @known counter drop
  }
}
table bridge theirs {
  chain input {
    type filter hook input priority 0
    ether type 0x1234 drop
  }
}
"""


def port(number, **changes):
    """What is asked of the helper for a VM."""
    return {
        **BRIDGE,
        "tap": f"bgr{number:012x}",
        "mac": f"52:54:0a:c9:00:{number:02x}",
        "address": f"10.201.0.{number}/24",
        "address6": f"fd62:616e:6765:7201::{number:x}/64",
        **changes,
    }


class Namespace:
    """A network namespace, known by its descriptor."""

    def __init__(self):
        with OWN.open() as before:
            _call("unshare", CLONE_NEWNET)
            self.fd = os.open(OWN, os.O_RDONLY)
            _call("setns", before.fileno(), CLONE_NEWNET)

    @contextmanager
    def inside(self) -> Iterator[None]:
        with OWN.open() as before:
            _call("setns", self.fd, CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", before.fileno(), CLONE_NEWNET)

    @property
    def path(self):
        return f"/proc/{os.getpid()}/fd/{self.fd}"


class Host(Namespace):
    """A namespace with somebody else's rules in it, and a network that leads to ``outside``."""

    def __init__(self):
        super().__init__()
        self.outside = Namespace()
        with self.inside():
            ip("link set lo up")
            ip("link add wan type veth peer name host")
            ip(f"link set host netns {self.outside.path}")
            ip("address add 198.51.100.1/24 dev wan")
            ip("-6 address add 2001:db8::1/64 dev wan nodad")
            ip("link set wan addrgenmode none up")
            with self.outside.inside():
                ip("link set lo up")
                ip("address add 198.51.100.2/24 dev host")
                ip("address add 169.254.169.254/32 dev lo")
                ip("-6 address add 2001:db8::2/64 dev host nodad")
                ip("link set host up")
            ip("route add default via 198.51.100.2")
            sh("nft", "-f", "-", stdin=FOREIGN)
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            while '"operstate":"UP"' not in sh("ip", "-json", "link", "show", "wan"):
                time.sleep(0.01)
            # Routes follow their links a moment later
            seen = None
            while seen != (seen := everything()):
                time.sleep(0.05)

    def close(self):
        for each in (self, self.outside):
            os.close(each.fd)


def ip(line):
    return sh("ip", *line.split())


def _call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def sh(*argv, stdin=""):
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def everything():
    """All of this namespace that the helper could change."""
    return [
        sh("nft", "list", "ruleset"),
        sh("ip", "-json", "link", "show"),
        sh("ip", "-json", "address", "show"),
        sh("ip", "-json", "route", "show", "table", "all"),
        sh("ip", "-json", "-6", "route", "show", "table", "all"),
        sh("ip", "-json", "rule", "show"),
    ]


class Guest:
    """A machine's end of a tap: writes frames and sees what arrives."""

    def __init__(self, number):
        self.number = number
        self.mac = bytes.fromhex(f"52540ac900{number:02x}")
        self.ip = bytes([10, 201, 0, number])
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        name = f"bgr{number:012x}".encode()
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", name, IFF_TAP | IFF_NO_PI))

    def send(self, frame):
        os.write(self.fd, frame)

    def received(self):
        """Everything that waits."""
        frames = []
        while True:
            try:
                frames.append(os.read(self.fd, 2048))
            except BlockingIOError:
                return frames

    def close(self):
        os.close(self.fd)


# --- frames -----------------------------------------------------------------------------------

GATEWAY_MAC = bytes.fromhex("52550ac90001")
EVERYBODY = b"\xff" * 6


def ethernet(source, target, kind, payload):
    return target + source + struct.pack("!H", kind) + payload


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp4(source, target, data=b"hello", port=9):
    datagram = struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0, source, target
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + datagram


def ip6(source, target, protocol, body, hops=64):
    return struct.pack("!IHBB16s16s", 0x60000000, len(body), protocol, hops, source, target) + body


def with_checksum(source, target, protocol, body, at):
    pseudo = source + target + struct.pack("!II", len(body), protocol)
    return body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2 :]


def udp6(source, target, data=b"hello", port=9):
    datagram = struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data
    return ip6(source, target, 17, with_checksum(source, target, 17, datagram, 6))


def discovery(kind, source, target, about, option=b""):
    """A neighbour solicitation (135) or advertisement (136), or what else ``kind`` is."""
    body = struct.pack("!BBHI", kind, 0, 0, 0) + about + option
    return ip6(source, target, 58, with_checksum(source, target, 58, body, 2), hops=255)


def arp(operation, mac, ip, target_ip, target_mac=b"\0" * 6):
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, operation, mac, ip, target_mac, target_ip)
