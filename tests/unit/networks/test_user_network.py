"""Loopback addresses: stable, apart from each other, and really free."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_core.errors import Conflict, HostNotReady
from banger_core.model import GUEST_SSH_PORT, Publish, VmRequest
from banger_core.networks import loopback, user
from banger_core.networks.user import NoNetwork, UserNetwork

VM = "0123456789ab"


def plan(vm_id=VM, taken=()):
    return UserNetwork().plan(vm_id, VmRequest(), taken, {})


@pytest.fixture
def listener():
    """A function that listens on an address until the test ends."""
    open_sockets = []

    def listen(address, port):
        server = socket.create_server((address, port))
        open_sockets.append(server)
        return server

    yield listen
    for server in open_sockets:
        server.close()


def test_plan_is_qemus_user_network_behind_an_own_address():
    found = plan()
    assert (found.network, found.kind, found.outbound) == ("user", "user", True)
    assert (found.guest_address, found.gateway) == ("10.0.2.15/24", "10.0.2.2")
    assert found.nameserver == "10.0.2.3"
    assert found.mac.startswith("52:54:00:")
    (forward,) = found.forwards
    assert (forward.host_port, forward.guest_port) == (2222, GUEST_SSH_PORT)
    assert found.ssh == (found.host_address, 2222)


def test_network_none_is_the_same_without_a_way_out():
    found = NoNetwork().plan(VM, VmRequest(), [], {})
    assert (found.network, found.kind, found.outbound) == ("none", "user", False)
    assert found.ssh == plan().ssh


@given(st.text("0123456789abcdef", min_size=12, max_size=12))
def test_addresses_lie_in_the_pool_and_look_like_hosts(vm_id):
    address, port = loopback.pick(vm_id, ())
    assert ipaddress.ip_address(address) in loopback.POOL
    assert address.rpartition(".")[2] not in ("0", "255")
    assert port in loopback.SSH_PORTS
    assert loopback.pick(vm_id, ()) == (address, port)


def test_busy_address_is_passed_over(listener):
    first = plan()
    listener(*first.ssh)
    second = plan()
    assert second.host_address != first.host_address
    assert second.ssh[1] == first.ssh[1]


def test_a_listener_on_all_addresses_moves_the_port(listener, monkeypatch):
    # Ports of its own: real machines may be using the usual one at this moment
    taken = listener("0.0.0.0", 0).getsockname()[1]
    monkeypatch.setattr(loopback, "SSH_PORTS", (taken, 12222))
    assert plan().ssh[1] == 12222


def test_nothing_free_is_the_host_s_problem(monkeypatch):
    monkeypatch.setattr(loopback, "can_bind", lambda *_: False)
    with pytest.raises(HostNotReady, match="no loopback address"):
        plan()


def test_macs_differ():
    assert len({plan(f"{number:012x}").mac for number in range(50)}) == 50


def test_lingering_connections_are_no_obstacle(listener):
    address, port = plan().ssh
    server = listener(address, port)
    client = socket.create_connection((address, port))
    accepted, _ = server.accept()
    accepted.close()
    client.close()
    server.close()
    assert loopback.can_bind(address, port)


def test_down_waits_until_the_sockets_are_gone(listener, fake_context, caplog):
    found = plan()
    server = listener(*found.ssh)

    async def down():
        asyncio.get_running_loop().call_later(0.1, server.close)
        await UserNetwork().down(found, fake_context)

    asyncio.run(down())
    assert loopback.can_bind(*found.ssh)
    assert not caplog.records


def test_down_reports_a_stranger_and_goes_on(listener, fake_context, caplog, monkeypatch):
    monkeypatch.setattr(user, "RELEASE_DEADLINE", 0.1)
    found = plan()
    listener(*found.ssh)
    with caplog.at_level(logging.WARNING):
        asyncio.run(UserNetwork().down(found, fake_context))
    assert f"something still listens on {found.host_address}:2222" in caplog.text


# --- published ports ---------------------------------------------------------------------------


def published(*publish, vm_id=VM):
    return UserNetwork().plan(vm_id, VmRequest(publish=publish), [], {})


def test_published_ports_keep_their_numbers_at_the_vms_address():
    web, dns = (
        Publish(host_port=8080, guest_port=80),
        Publish(host_port=5353, guest_port=53, protocol="udp"),
    )
    found = published(web, dns)
    assert [forward.publish for forward in found.forwards[1:]] == [web, dns]
    assert {forward.host_address for forward in found.forwards} == {found.host_address}
    assert found.ssh == (found.host_address, 2222)
    assert [str(each) for each in (web, dns)] == ["8080:80", "5353:53/udp"]


def test_ssh_makes_way_for_a_published_port():
    found = published(Publish(host_port=2222, guest_port=22))
    assert found.ssh[1] == 12222
    assert found.forwards[1].host_port == 2222


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_taken_at_one_address_gives_another(protocol):
    wanted = Publish(host_port=free_port(), guest_port=80, protocol=protocol)
    first = published(wanted)
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind((first.host_address, wanted.host_port))
        if protocol == "tcp":
            server.listen()
        assert published(wanted).host_address != first.host_address


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_taken_everywhere_is_named(protocol):
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind(("0.0.0.0", 0))
        if protocol == "tcp":
            server.listen()
        port = server.getsockname()[1]
        with pytest.raises(Conflict, match=f"{protocol} port {port} is taken") as problem:
            published(Publish(host_port=port, guest_port=80, protocol=protocol))
    assert f"'sport = :{port}'" in problem.value.hints[0]


def test_a_port_that_only_root_may_have_is_said_so(monkeypatch):
    def bind(_address, port, _protocol):
        return errno.EACCES if port < 1024 else 0

    monkeypatch.setattr(loopback, "_obstacle", bind)
    with pytest.raises(HostNotReady, match="port 80 cannot be published by this user") as problem:
        published(Publish(host_port=80, guest_port=80))
    assert problem.value.hints == ("--publish 8080:80",)


def test_up_says_which_port_was_taken_meanwhile(listener, fake_context):
    wanted = Publish(host_port=free_port(), guest_port=80)
    found = published(wanted)
    asyncio.run(UserNetwork().up(found, fake_context))
    listener(found.host_address, wanted.host_port)
    with pytest.raises(Conflict, match=f"port {wanted.host_port} is taken") as problem:
        asyncio.run(UserNetwork().up(found, fake_context))
    assert problem.value.hints[1] == f"banger net forward remove NAME {wanted.host_port}"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
