"""Real machines on a bridge, on a host of their own: a network namespace with somebody else's
rules in it, and another beyond it that stands for the rest of the world.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from bridge_space import GATEWAY_MAC, Host, ethernet, everything, ip, udp4

pytestmark = [pytest.mark.system, pytest.mark.timeout(600), pytest.mark.xdist_group("bridge")]

OUTSIDE, METADATA = "198.51.100.2", "169.254.169.254"
HOSTS_OWN = ("10.201.0.1", "198.51.100.1")

SERVE = """
use IO::Socket::IP;
my %at = (LocalHost => "::", LocalPort => 80, V6Only => 0);
my $s = IO::Socket::IP->new(%at, Listen => 9, ReuseAddr => 1) or die $@;
while (my $c = $s->accept) {
  print $c "seen from " . ($c->peerhost =~ s/::ffff://r) . "\\n";
  close $c;
}
"""
ASK = """
use IO::Socket::IP;
for (@ARGV) {
  my $s = IO::Socket::IP->new(PeerHost => $_, PeerPort => 80, Timeout => 5);
  my $said = $s ? <$s> : undef;
  print "$_ ", $said // "closed\\n";
}
"""
SEND = """
use Socket;
my ($card, $frame) = @ARGV;
socket(my $s, 17, SOCK_RAW, 0x0300) or die $!;
open my $f, "<", "/sys/class/net/$card/ifindex" or die $!;
send($s, pack("H*", $frame), 0, pack("SnlSCCa8", 17, 0x0800, <$f> + 0, 1, 0, 6, "")) or die $!;
"""


def on(banger, vm, script, *args):
    return banger.ok("vm", "exec", vm, "--", "perl", "-e", script, *args)


def ask(banger, vm, *addresses):
    """What the servers at port 80 there say, "closed" where none does."""
    return dict(line.split(" ", 1) for line in on(banger, vm, ASK, *addresses).splitlines())


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces with a bridge take root")
    one = Host()
    yield one
    one.close()


@pytest.fixture(scope="module")
def banger(host, banger_within):
    with banger_within(host.inside) as one:
        (one.home / "config" / "config.toml").write_text('[vm]\nnetwork = "bridge"\n')
        yield one


@pytest.fixture(scope="module")
def servers(host):
    """Servers of the host and of the world beyond it, which say who asks."""
    with ExitStack() as stack:
        for place in (host, host.outside):
            with place.inside():
                server = stack.enter_context(socket.create_server(("0.0.0.0", 80)))
            threading.Thread(target=_serve, args=[server], daemon=True).start()
            stack.callback(server.shutdown, socket.SHUT_RDWR)
        yield


def _serve(server):
    while True:
        try:
            client, (address, _) = server.accept()
        except OSError:
            return
        client.sendall(f"seen from {address}\n".encode())
        client.close()


def drops(banger):
    """What the doctor says was kept back, by VM and reason."""
    # Whatever else it says of a host that is busy with other tests
    found = json.loads(banger.run("doctor", "--json").stdout)
    said = "\n".join(each["message"] for each in found)
    found = re.findall(r"VM (\w+): (\d+) packets dropped, (.+)", said)
    return {(vm, why): int(packets) for vm, packets, why in found}


def test_machines_on_a_bridge(banger, host, servers):
    with host.inside():
        before = everything()
    for name, options in (("a", ()), ("b", ("--link", "a", "--nat")), ("c", ())):
        banger.ok("vm", "run", "-d", "--name", name, *options)
    shown = {name: banger.json("vm", "show", name) for name in "abc"}
    at = {name: vm["address"] for name, vm in shown.items()}
    at6 = {name: vm["address6"] for name, vm in shown.items()}
    assert shown["b"]["links"] == ["a"]
    for name in "abc":
        script = 'setsid perl -e "$1" </dev/null >/dev/null 2>&1 & sleep 0.3'
        banger.ok("vm", "exec", name, "--", "sh", "-c", script, "sh", SERVE)

    # Linked ones reach each other, in both ways and both families, and nobody else does
    assert ask(banger, "b", at["a"], at6["a"], at["c"], at6["c"]) == {
        at["a"]: f"seen from {at['b']}",
        at6["a"]: f"seen from {at6['b']}",
        at["c"]: "closed",
        at6["c"]: "closed",
    }
    assert ask(banger, "a", at["b"], at["c"]) == {
        at["b"]: f"seen from {at['a']}",
        at["c"]: "closed",
    }

    # The world is for who asked for it, the host and what it is told by its cloud for nobody
    closed = dict.fromkeys([*HOSTS_OWN, METADATA], "closed")
    assert ask(banger, "b", OUTSIDE, *closed) == {OUTSIDE: "seen from 198.51.100.1", **closed}
    assert ask(banger, "a", OUTSIDE, *closed) == {OUTSIDE: "closed", **closed}

    # Nobody speaks as another: frames of root's in a guest
    ids = {name: vm["id"] for name, vm in shown.items()}
    spoofed = (ids["b"], "sent as somebody else")
    before_lies = drops(banger).get(spoofed, 0)
    mac, lie = bytes.fromhex(shown["b"]["mac"].replace(":", "")), socket.inet_aton(at["a"])
    card = banger.ok("vm", "exec", "b", "--", "sh", "-c", "ls /sys/class/net | grep -v lo").strip()
    for source in (mac, b"\x52\x54\0\0\0\1"):
        frame = ethernet(source, GATEWAY_MAC, 0x0800, udp4(lie, socket.inet_aton(OUTSIDE)))
        on(banger, "b", SEND, card, frame.hex())
    counted = drops(banger)
    assert counted[spoofed] == before_lies + 2
    for name, why in (
        ("a", "to the outside"),
        ("a", "to this host"),
        ("a", "to a VM that it is not linked with"),
        ("b", "to a cloud's metadata"),
    ):
        assert counted[ids[name], why] > 0

    walls_open_and_close(banger, host, at, ids)

    # A daemon that is killed leaves nothing that the next one does not find
    os.kill(banger.daemon_pid(), signal.SIGKILL)
    for name in "ab":
        banger.ok("vm", "delete", "--force", name)
    with host.inside():
        assert everything() == before


def walls_open_and_close(banger, host, at, ids):
    """Links and ways out of machines that run; b is linked with a, and has a way out."""
    as_made = rules(host)
    banger.ok("vm", "set", "a", "--link", "c", "--nat")
    banger.ok("vm", "set", "a", "--unlink", "b")
    banger.ok("vm", "set", "b", "--no-nat")
    assert banger.json("net", "show", "bridge")["links"] == [["a", "c"]]
    assert ask(banger, "a", at["b"], at["c"], OUTSIDE) == {
        at["b"]: "closed",
        at["c"]: f"seen from {at['a']}",
        OUTSIDE: "seen from 198.51.100.1",
    }
    assert ask(banger, "b", at["a"], OUTSIDE) == {at["a"]: "closed", OUTSIDE: "closed"}

    # As it is now it stays, over the end of a daemon and of a machine
    changed = rules(host)
    os.kill(banger.daemon_pid(), signal.SIGKILL)
    banger.ok("vm", "restart", "--force", "c")
    assert rules(host) == changed
    assert ask(banger, "c", at["a"], at["b"], OUTSIDE) == {
        at["a"]: f"seen from {at['c']}",
        at["b"]: "closed",
        OUTSIDE: "closed",
    }

    # Nothing is left of it, from whichever side it is taken back, and of a link to who is gone
    banger.ok("vm", "set", "c", "--unlink", "a")
    banger.ok("vm", "set", "a", "--link", "b", "--no-nat")
    banger.ok("vm", "set", "b", "--nat")
    assert rules(host) == as_made
    banger.ok("vm", "set", "a", "--link", "c")
    banger.ok("vm", "delete", "--force", "c")
    assert ids["c"] not in rules(host)
    assert banger.json("vm", "show", "a")["links"] == ["b"]


def rules(host):
    """All rules there are, without what they counted."""
    with host.inside():
        return re.sub(r"packets \d+ bytes \d+", "", everything()[0])


def test_what_is_refused_is_refused_before_anything_is_made(banger, host):
    with host.inside():
        before = everything()
    for options, summary in (
        (("--link", "nobody"), "no VM on the network bridge named 'nobody'"),
        (("-p", "80"), "the network bridge publishes no ports"),
    ):
        refused = banger.run("vm", "create", *options)
        assert refused.returncode == 2
        assert summary in refused.stderr.decode()
    with host.inside():
        ip("route add 10.201.0.0/25 via 198.51.100.2")
        taken = banger.run("vm", "create")
        ip("route del 10.201.0.0/25 via 198.51.100.2")
        assert everything() == before
    assert taken.returncode == 1
    assert "error: the subnet 10.201.0.0/24 is taken on this host" in taken.stderr.decode()
    assert banger.vm_names() == []
