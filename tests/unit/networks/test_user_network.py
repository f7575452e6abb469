"""Loopback addresses: stable, apart from each other, and really free."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_core.errors import HostNotReady
from banger_core.model import GUEST_SSH_PORT, VmRequest
from banger_core.networks import loopback, user
from banger_core.networks.user import NoNetwork, UserNetwork

VM = "0123456789ab"


def plan(vm_id=VM, taken=()):
    return UserNetwork().plan(vm_id, VmRequest(), taken)


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
    found = NoNetwork().plan(VM, VmRequest(), [])
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
