"""What a guest of the user network reaches: the outside by way of this host, and of the host itself
nothing unless it was allowed. The host's servers are real, and so are the packets.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import ExitStack, suppress

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(400), pytest.mark.xdist_group("user-net")]

GATEWAY = "10.0.2.2"
RESOLVER = "10.0.2.3"

ASK = """
use IO::Socket::INET;
my $patience = shift;
for (@ARGV) {
  my $s = IO::Socket::INET->new(PeerAddr => $_, Timeout => $patience);
  print "$_ ", ($s ? scalar(<$s>) : "closed\\n");
}
"""
"""What each HOST:PORT says first, or that it is closed; after PATIENCE."""

SEND = """
use IO::Socket::INET;
my ($from, @to) = @ARGV;
my $s = IO::Socket::INET->new(LocalPort => $from, Proto => "udp") or die $@;
for (@to) {
  my ($host, $port) = split /:/;
  send $s, "from $from to $_", 0, sockaddr_in($port, inet_aton($host));
}
"""


def bind_below(server, limit):
    for port in range(limit - 1, 1024, -1):
        with suppress(OSError):
            server.bind(("0.0.0.0", port))
            return


class Servers:
    """A TCP server that says who it is and a UDP one that remembers, at every address."""

    def __init__(self, stack):
        self.tcp = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
        self.udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        # Below the ports of clients, as servers are
        bind_below(self.udp, 32768)
        self.port, self.udp_port = self.tcp.getsockname()[1], self.udp.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self.tcp.accept()
            except OSError:
                return
            client.sendall(b"the host\n")
            client.close()

    def heard(self, patience=2):
        self.udp.settimeout(patience)
        try:
            return self.udp.recv(99).decode()
        except TimeoutError:
            return ""


@pytest.fixture(scope="module")
def host():
    with ExitStack() as stack:
        servers = Servers(stack)
        yield servers
        # Closing alone does not wake who accepts
        servers.tcp.shutdown(socket.SHUT_RDWR)


def own_address():
    """The address that this host has in its network, None where it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return None
        return probe.getsockname()[0]


def ask(banger, name, *targets, patience=2):
    said = banger.ok("vm", "exec", name, "--", "perl", "-e", ASK, str(patience), *targets)
    return dict(line.split(" ", 1) for line in said.splitlines())


def test_the_host_is_closed_until_it_is_allowed(banger, host):
    banger.ok("vm", "run", "-d", "--name", "shut", "-p", "5353/udp")
    address = own_address()
    targets = [f"{at}:{host.port}" for at in (GATEWAY, RESOLVER, address) if at]
    assert ask(banger, "shut", *targets) == dict.fromkeys(targets, "closed")
    # Neither from a port that is published: its answers go to ports of clients
    to = f"{GATEWAY}:{host.udp_port}"
    for port in ("4444", "5353"):
        banger.ok("vm", "exec", "shut", "--", "perl", "-e", SEND, port, to)
    assert host.heard() == ""

    # Nor after a port was published by a daemon that knows the machine from its records
    os.kill(banger.daemon_pid(), signal.SIGKILL)
    banger.ok("net", "forward", "add", "shut", "8080:80")
    assert ask(banger, "shut", *targets) == dict.fromkeys(targets, "closed")


def test_access_to_the_host_is_no_way_out(banger, host):
    banger.ok("vm", "run", "-d", "--name", "open", "--host-access", "--no-nat")
    gateway, address = f"{GATEWAY}:{host.port}", own_address()
    assert ask(banger, "open", gateway, patience=100) == {gateway: "the host"}
    if address:
        outside = f"{address}:{host.port}"
        assert ask(banger, "open", outside) == {outside: "closed"}
    banger.ok("vm", "exec", "open", "--", "perl", "-e", SEND, "4444", f"{GATEWAY}:{host.udp_port}")
    assert host.heard(100) == f"from 4444 to {GATEWAY}:{host.udp_port}"
