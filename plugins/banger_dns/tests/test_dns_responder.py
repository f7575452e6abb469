"""The life of the responder: started, told, replaced, and gone when nobody needs it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import dns.message
import dns.query
import dns.rcode
import pytest
from dns_house import House, free_port, name

from banger_core.api import Conflict, HostNotReady, NotFound, identify_process, process_alive
from banger_core.model import NetPlan
from banger_core.testing.contracts.samples import sample_record
from banger_dns import keeper, ports
from banger_dns.attachment import Names
from banger_dns.book import Book, Name
from banger_dns.orders import OWNER, directory_of
from banger_dns.ports import holders, obstacle


def until(true, patience=90.0):
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def resolve(house, question="web.vm", kind="A"):
    """The addresses, or the code of what went wrong."""
    query = dns.message.make_query(question, kind)
    reply = dns.query.udp(query, house.address, port=house.port, timeout=60)
    if reply.rcode():
        return dns.rcode.to_text(reply.rcode())
    return [str(record) for rrset in reply.answer for record in rrset]


@contextlib.contextmanager
def sleeper():
    """A process that stands for a VMM."""
    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            yield child, identify_process(child.pid)
        finally:
            child.kill()


def gone(said):
    return not process_alive(said.process)


def test_names_come_and_go(serving):
    assert resolve(serving) == "NXDOMAIN"
    serving.enter(name("web", "127.64.1.2"))
    until(lambda: resolve(serving) == ["127.64.1.2"])
    serving.strike("id-web")
    until(lambda: resolve(serving) == "NXDOMAIN")


def test_attachment_publishes_a_vm(serving):
    record = sample_record("shop")
    asyncio.run(Names().attach(record, serving.cx))
    until(lambda: resolve(serving, "shop.vm") == ["127.64.0.1"])
    assert serving.ask("list")["names"] == [
        {"name": "shop.vm", "vm_id": record.id, "addresses": ["127.64.0.1"]}
    ]
    asyncio.run(Names().detach(record, serving.cx))
    until(lambda: resolve(serving, "shop.vm") == "NXDOMAIN")


def test_addresses_of_a_vm_on_a_bridge_are_the_guests():
    record = sample_record()
    net = NetPlan(
        network="bridge",
        kind="tap",
        guest_address="10.7.0.5/24",
        guest_address6="fd00:7::5/64",
        host_address="10.7.0.1",
    )
    found = Name.of(replace(record, plan=replace(record.plan, net=net)))
    assert found.addresses == ("10.7.0.5", "fd00:7::5")
    assert found.networks == ("10.7.0.5/24", "fd00:7::5/64")


def test_name_vanishes_with_its_process(serving):
    with sleeper() as (child, process):
        serving.enter(name("web", "127.64.1.2", process=process), name("db", "127.64.1.3"))
        until(lambda: resolve(serving) == ["127.64.1.2"])
        child.kill()
        # Nobody takes it out of the book, nobody even waits for the child
        until(lambda: resolve(serving) == "NXDOMAIN")
        assert resolve(serving, "db.vm") == ["127.64.1.3"]
        assert [each["name"] for each in serving.ask("list")["names"]] == ["db.vm"]
        serving.tend()
        assert [each.name for each in Book(serving.cx.state_dir).read()] == ["db"]


def test_process_of_another_time_has_no_name(serving):
    with sleeper() as (_, process):
        serving.enter(name("web", "127.64.1.2", process=replace(process, start_ticks=1)))
        serving.enter(name("db", "127.64.1.3"))
        until(lambda: resolve(serving, "db.vm") == ["127.64.1.3"])
        assert resolve(serving) == "NXDOMAIN"


def test_book_that_was_written_without_a_word_is_found(serving):
    asyncio.run(Book(serving.cx.state_dir).enter(name("web", "127.64.1.2")))
    until(lambda: resolve(serving) == ["127.64.1.2"])


def test_broken_book_is_as_good_as_none(serving):
    serving.enter(name("web", "127.64.1.2"))
    until(lambda: resolve(serving) == ["127.64.1.2"])
    (serving.cx.state_dir / "names.json").write_text('{"names": [{"name"')
    until(lambda: resolve(serving) == "NXDOMAIN")
    serving.enter(name("web", "127.64.1.2"))
    until(lambda: resolve(serving) == ["127.64.1.2"])


DAEMON = """
import asyncio, sys
from pathlib import Path
from banger_core.testing.context import FakeContext
from banger_dns.service import DnsService
cx = FakeContext(Path(sys.argv[1]), {"port": int(sys.argv[2])})
asyncio.run(DnsService().tend(cx))
print(asyncio.run(DnsService().answer("status", {}, cx))["responder"]["pid"], flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def other_daemon(house):
    """A daemon in a process of its own, over the same directories."""
    argv = [sys.executable, "-c", DAEMON, str(house.cx.state_dir.parent), str(house.port)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert int(child.stdout.readline())
            yield child
        finally:
            child.kill()


def test_responder_outlives_the_daemon_as_long_as_a_vm_runs(house):
    with sleeper() as (vmm, process), other_daemon(house) as daemon:
        said = house.said
        asyncio.run(Book(house.cx.state_dir).enter(name("web", "127.64.1.2", process=process)))
        until(lambda: resolve(house) == ["127.64.1.2"])
        daemon.kill()
        daemon.wait()
        until(lambda: said.process and resolve(house) == ["127.64.1.2"])
        # The next daemon finds it, and goes on with it
        house.tend()
        assert house.said == said
        assert not house.cx.spawned
        (directory_of(house.cx.state_dir) / OWNER).unlink()
        until(lambda: resolve(house) == ["127.64.1.2"])
        vmm.kill()
        vmm.wait()
        until(lambda: gone(said))


def test_responder_leaves_with_the_daemon_when_no_vm_runs(house):
    with other_daemon(house) as daemon:
        said = house.said
        assert not gone(said)
        daemon.kill()
        daemon.wait()
        until(lambda: gone(said))


def test_responder_leaves_when_its_directory_is_removed(serving):
    import shutil

    said = serving.said
    shutil.rmtree(directory_of(serving.cx.state_dir))
    until(lambda: gone(said))


def test_responder_that_died_is_started_again(serving):
    said = serving.said
    serving.enter(name("web", "127.64.1.2"))
    os.kill(said.process.pid, signal.SIGKILL)
    until(lambda: gone(said))
    serving.tend()
    assert serving.ask("status")["responder"]["pid"] not in (None, said.process.pid)
    assert resolve(serving) == ["127.64.1.2"]


def test_open_connection_keeps_nobody_waiting(serving):
    said = serving.said
    with socket.create_connection(("127.0.0.1", serving.port)) as connection:
        connection.sendall(b"\0")
        os.kill(said.process.pid, signal.SIGTERM)
        until(lambda: gone(said))


def test_changed_settings_replace_it(serving):
    said, port = serving.said, free_port()
    serving.enter(name("web", "127.64.1.2"))
    serving.cx._settings.update(port=port, ttl=7)
    serving.tend()
    assert gone(said)
    assert serving.ask("status")["responder"]["port"] == port
    query = dns.message.make_query("web.vm", "A")
    reply = dns.query.udp(query, "127.0.0.1", port=port, timeout=60)
    assert reply.answer[0].ttl == 7


def test_switched_off(serving):
    said = serving.said
    serving.cx._settings["responder"] = False
    serving.tend()
    assert gone(said)
    found = serving.ask("status")["responder"]
    assert (found["enabled"], found["pid"], found["problem"]) == (False, None, None)


def test_port_that_is_taken(house):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", house.port))
        with pytest.raises(Conflict) as caught:
            house.tend()
        assert f"(pid {os.getpid()})" in caught.value.cause
        assert str(house.port) in caught.value.summary
        assert house.ask("status")["responder"]["problem"]["error"] == caught.value.summary
        # A VM gets its name in the book all the same
        asyncio.run(Names().attach(sample_record(), house.cx))
        assert not house.cx.spawned
    house.tend()
    assert house.ask("status")["responder"]["pid"]
    assert resolve(house, "sample.vm") == ["127.64.0.1"]


def test_low_port_says_how_to_get_it(house, monkeypatch):
    refused = PermissionError(13, "Permission denied")
    house.cx._settings["port"] = 53
    monkeypatch.setattr(ports, "obstacle", lambda *_: refused)
    with pytest.raises(HostNotReady) as caught:
        house.tend()
    assert caught.value.hints == (
        "sudo sysctl net.ipv4.ip_unprivileged_port_start=53",
        "set port = 10053 in [plugins.dns], then banger daemon stop",
    )


@pytest.mark.parametrize(
    ("address", "port", "serve", "advice"),
    [
        ("127.0.0.1", 53, False, 'set address = "127.0.0.2" in [plugins.dns], then banger daemon'),
        ("127.0.0.1", 10053, False, "set port = 10054 in [plugins.dns], then banger daemon stop"),
        ("::1", 53, False, "set port = 54 in [plugins.dns], then banger daemon stop"),
        ("127.0.0.9", 53, True, "banger dns serve --address 127.0.0.10"),
    ],
)
def test_what_to_try_in_place_of_what_is_taken(monkeypatch, address, port, serve, advice):
    monkeypatch.setattr(ports, "obstacle", lambda *_: OSError(errno.EADDRINUSE, "in use"))
    with pytest.raises(Conflict) as caught:
        ports.check(address, port, serve=serve)
    assert caught.value.hints[1].startswith(advice)


def test_address_that_this_host_does_not_have(house):
    house.cx._settings.update(address="198.51.100.7", expose=True)
    with pytest.raises(HostNotReady, match=r"198\.51\.100\.7"):
        house.tend()


def test_holders_are_those_of_udp_and_tcp():
    port = free_port()
    own = f"(pid {os.getpid()})"
    assert holders(port) == []
    with socket.create_server(("127.0.0.1", port)):
        assert any(own in each for each in holders(port))
        assert obstacle("127.0.0.1", port) is not None
    assert obstacle("127.0.0.1", port) is None


def test_version_6(fake_context):
    port = free_port()
    fake_context._settings.update(address="::1", port=port)
    house = House(fake_context)
    if obstacle("::1", port) is not None:
        pytest.skip("this host has no ::1")
    house.tend()
    assert house.ask("status")["responder"]["pid"]
    assert resolve(house) == "NXDOMAIN"


def test_responder_that_cannot_start_says_why(house):
    house.cx._settings["ttl"] = 1
    broken = directory_of(house.cx.state_dir)
    house.tend()
    house.ask("status")
    os.kill(house.said.process.pid, signal.SIGKILL)
    (broken / "vmm.log").write_text("one\nit went wrong\n")
    until(lambda: house.said is None)
    problem = keeper.ended(house.cx.state_dir)
    assert "it went wrong" in problem.cause


def test_question_while_the_daemon_tends(house):
    async def both():
        tend = house.service.tend(house.cx)
        asked = house.service.answer("status", {}, house.cx)
        return (await asyncio.gather(tend, asked))[1]

    assert asyncio.run(both())["responder"]["pid"]
    assert len(house.cx.spawned) == 1


def test_unknown_question(house):
    with pytest.raises(NotFound):
        house.ask("weather")
