"""Ports of a real machine, published at its own address: from birth, while it runs, and again
after it was stopped.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from contextlib import suppress

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("ports")]

TCP_ECHO = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => %d, Listen => 9, ReuseAddr => 1) or die $@;
while (my $c = $s->accept) { my $line = <$c>; print $c "tcp:$line"; close $c }
"""
UDP_ECHO = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => %d, Proto => "udp") or die $@;
while (my $from = $s->recv(my $data, 999)) { send $s, "udp:$data", 0, $from }
"""


def free_ports(count):
    """Ports that nobody has at any address of this host, below those that the kernel gives out."""
    found = []
    while len(found) < count:
        port = random.randrange(10_000, 30_000)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with suppress(OSError), datagrams, socket.create_server(("0.0.0.0", port)):
            datagrams.bind(("0.0.0.0", port))
            found.append(port)
    return found


def serve(banger, program, port):
    """Start a server in the machine, apart from the session that starts it."""
    perl = program % port
    script = 'setsid perl -e "$1" </dev/null >/dev/null 2>&1 & sleep 0.2'
    banger.ok("vm", "exec", "web", "--", "sh", "-c", script, "sh", perl)


def tcp(address, port):
    """What the machine answers, "" where nobody does."""
    try:
        with socket.create_connection((address, port), timeout=60) as connection:
            connection.sendall(b"hello\n")
            return connection.makefile().read()
    except OSError:
        return ""


def udp(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        for _ in range(10):
            client.sendto(b"hello", (address, port))
            try:
                return client.recv(99).decode()
            except OSError:
                time.sleep(0.2)
    return ""


def eventually(ask, wanted):
    deadline = time.monotonic() + 200
    while (found := ask()) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_ports_of_a_machine(banger):
    first, second, datagrams = free_ports(3)
    published = [f"{first}:80", f"{datagrams}:5353/udp"]
    banger.ok("vm", "run", "-d", "--name", "web", "-p", published[0], "-p", published[1])
    shown = banger.json("vm", "show", "web")
    address = shown["address"]
    assert shown["ports"] == published
    serve(banger, TCP_ECHO, 80)
    serve(banger, UDP_ECHO, 5353)
    eventually(lambda: tcp(address, first), "tcp:hello\n")
    eventually(lambda: udp(address, datagrams), "udp:hello")

    # At the machine's own address and nowhere else
    assert tcp("127.0.0.1", first) == ""

    taken = banger.run("net", "forward", "add", "web", f"{first}:81")
    assert taken.returncode == 1
    assert f"tcp port {first} of web is published already".encode() in taken.stderr
    with socket.create_server((address, 0)) as stranger:
        port = stranger.getsockname()[1]
        refused = banger.run("net", "forward", "add", "web", f"{port}:80")
        assert refused.returncode == 1, refused.stderr
        assert f"tcp port {port} is taken on {address}".encode() in refused.stderr
        assert f"try:   banger net forward add web {port % 50000 + 10000}:80" in (
            refused.stderr.decode()
        )
    assert banger.json("vm", "show", "web")["ports"] == published

    # A daemon that knows the machine only from its records
    os.kill(banger.daemon_pid(), signal.SIGKILL)
    banger.ok("net", "forward", "add", "web", f"{second}:80")
    eventually(lambda: tcp(address, second), "tcp:hello\n")
    banger.ok("net", "forward", "remove", "web", str(first))
    assert tcp(address, first) == ""
    rows = banger.json("net", "forward", "list", "web")["forwards"]
    assert sorted(row["host_port"] for row in rows) == sorted([datagrams, second])
    unknown = banger.run("net", "forward", "remove", "web", str(first))
    assert unknown.returncode != 0
    assert f"{second}/tcp".encode() in unknown.stderr

    banger.ok("vm", "stop", "web")
    assert tcp(address, second) == ""
    with socket.create_server((address, second)):
        blocked = banger.run("vm", "start", "web")
        assert blocked.returncode == 1
        assert f"tcp port {second} is taken on {address}".encode() in blocked.stderr
    banger.ok("vm", "start", "web")
    serve(banger, TCP_ECHO, 80)
    eventually(lambda: tcp(address, second), "tcp:hello\n")


def test_ports_that_cannot_be(banger):
    with socket.create_server(("0.0.0.0", 0)) as stranger:
        port = stranger.getsockname()[1]
        done = banger.run("vm", "create", "-p", f"{port}:80")
        assert done.returncode == 1
        assert f"tcp port {port} is taken".encode() in done.stderr
    twice = banger.run("vm", "create", "-p", "8080:80", "-p", "8080:81")
    assert twice.returncode == 2
    assert b"want the same port" in twice.stderr
    assert [name for name in banger.vm_names() if name != "web"] == []
