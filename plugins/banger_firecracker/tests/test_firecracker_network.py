"""The machine's own network namespace, with a real slirp4netns. A program in that namespace, with
the guest's address, stands in for the guest: what it sends takes the guest's way.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from firecracker_parts import within

from banger_core.api import Forward
from banger_core.networks.fence import own_addresses
from banger_core.testing.contracts.samples import free_net, sample_plan

GUEST = """
import socket, subprocess, sys, threading
subprocess.run(["ip", "addr", "add", "10.0.2.15/24", "dev", "br0"], check=True)
subprocess.run(["ip", "route", "add", "default", "via", "10.0.2.2", "src", "10.0.2.15"], check=True)
tcp = socket.create_server(("10.0.2.15", 80))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("10.0.2.15", 53))

def serve_tcp():
    while True:
        client, _ = tcp.accept()
        data = b""
        while piece := client.recv(65536):
            data += piece
        client.sendall(b"got " + str(len(data)).encode())
        client.close()

def serve_udp():
    while True:
        data, address = udp.recvfrom(65536)
        udp.sendto(data[::-1], address)

for each in (serve_tcp, serve_udp):
    threading.Thread(target=each, daemon=True).start()
print("up", flush=True)
for line in sys.stdin:
    host, port = line.split()
    try:
        with socket.create_connection((host, int(port)), 2, ("10.0.2.15", 0)) as there:
            print(there.recv(100).decode(), flush=True)
    except OSError as problem:
        print(f"no: {problem}", flush=True)
"""


@contextmanager
def guest_of(machine):
    """The stand-in; ``ask(host, port)`` has it connect, and returns what it was told there."""
    process = subprocess.Popen(
        [*within(machine), sys.executable, "-c", GUEST],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def ask(host, port):
        process.stdin.write(f"{host} {port}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    try:
        assert process.stdout.readline() == "up\n"
        yield ask
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def greeter():
    """A server on every address of this host."""
    with socket.create_server(("0.0.0.0", 0)) as server:

        def serve():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                client.sendall(b"this is the host")
                client.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def with_machine(driver, dirs, cx, work, **net):
    """Run ``work(machine, net)`` in a thread beside a machine."""
    plan = sample_plan(driver="firecracker", net=replace(free_net(), **net))

    async def run():
        machine = await driver.start(driver.launch(plan, dirs, "kvm"), cx)
        try:
            return await asyncio.to_thread(work, machine, plan.net, asyncio.get_running_loop())
        finally:
            await machine.kill()

    return asyncio.run(run())


def talk(address, port, data, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(5)
        client.connect((address, port))
        client.sendall(data)
        if kind == socket.SOCK_STREAM:
            client.shutdown(socket.SHUT_WR)
        return client.recv(65536)


@pytest.mark.parametrize("outbound", [True, False])
def test_ports_lead_to_the_guest_and_can_be_taken_back(driver, dirs, cx, outbound):
    def work(machine, net, loop):
        def told(call):
            return asyncio.run_coroutine_threadsafe(call, loop).result(10)

        address = net.host_address
        web = Forward(host_address=address, host_port=8080, guest_port=80)
        names = Forward(host_address=address, host_port=5353, guest_port=53, protocol="udp")
        with guest_of(machine):
            for each in (web, names):
                told(machine.add_forward(each))
            assert talk(address, 8080, b"x" * 1_000_000) == b"got 1000000"
            for number in range(3):
                data = b"query %d" % number
                assert talk(address, 5353, data, socket.SOCK_DGRAM) == data[::-1]
            told(machine.remove_forward(web))
            with pytest.raises(ConnectionRefusedError):
                talk(address, 8080, b"")
            # Nobody listens in the guest: the client learns it at once
            with pytest.raises(ConnectionResetError):
                talk(*net.ssh, b"x")

    with_machine(driver, dirs, cx, work, outbound=outbound)


def test_the_host_is_closed_to_guests(driver, dirs, cx, greeter):
    own = [str(each.network_address) for each in own_addresses() if each.prefixlen == 32]

    def work(machine, net, loop):
        with guest_of(machine) as ask:
            return [ask(address, greeter) for address in ("10.0.2.2", *own, "127.0.0.1")]

    assert all(said.startswith("no: ") for said in with_machine(driver, dirs, cx, work))


def test_the_host_is_open_where_that_was_asked_for(driver, dirs, cx, greeter):
    def work(machine, net, loop):
        with guest_of(machine) as ask:
            return ask("10.0.2.2", greeter)

    said = with_machine(driver, dirs, cx, work, host_access=True)
    assert said == "this is the host"


def test_without_a_way_out_there_is_none(driver, dirs, cx, greeter):
    def work(machine, net, loop):
        with guest_of(machine) as ask:
            return ask("10.0.2.2", greeter), ask("198.51.100.1", 80)

    said = with_machine(driver, dirs, cx, work, outbound=False)
    assert all(each.startswith("no: ") for each in said)
