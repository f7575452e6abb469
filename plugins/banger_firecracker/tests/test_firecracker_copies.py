"""Copies of a real machine: each has what is its own, and nobody's is in a snapshot.

NOT PROVEN here: that the Linux of a copy becomes another machine. That is asked over vsock of the
guest's helper, which is the one that QEMU's copies have; a host whose KVM boots Linux shows it in
``tests/system/test_snapshots.py``.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from firecracker_parts import tap_is_up

from banger_core.api import (
    Conflict,
    GuestFailed,
    HostNotReady,
    IntegrityError,
    NetPlan,
    signal_process,
    wait_process,
)
from banger_core.testing import leaks
from banger_core.testing.contracts import tiny_guest
from banger_core.testing.contracts.samples import free_net
from banger_firecracker.beside import Relay
from banger_firecracker.snapshots import check_movable, check_snapshot, requirements


@pytest.fixture
def plan(plan):
    return replace(plan, memory=32 << 20)


def another(plan, paths, number):
    """A VM that is to be a copy: its plan, its files."""
    apart = replace(paths, runtime=paths.runtime / str(number))
    apart.runtime.mkdir(mode=0o700)
    return replace(plan, id=f"c0ffee00000{number}", net=free_net()), tiny_guest(apart)


def open_files(machine):
    return {str(each.readlink()) for each in Path(f"/proc/{machine.process.pid}/fd").iterdir()}


def may_change_networks(pid):
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    (row,) = (row for row in rows if row.startswith("CapEff"))
    return int(row.split()[1], 16) != 0


def who_listens(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def test_each_copy_has_a_card_a_socket_and_disks_of_its_own(
    driver, plan, dirs, spec, cx, into, banger_paths, requests
):
    async def run():
        machines, places = [await driver.start(spec, cx)], [dirs]
        try:
            await machines[0].snapshot(into)
            for number in (1, 2):
                other, place = another(plan, banger_paths, number)
                launch = driver.launch(other, place, "kvm")
                machines.append(await driver.restore(launch, into, cx))
                places.append(place)
            shutil.rmtree(into)
            for copy in machines[1:]:
                assert not tap_is_up(copy)
                assert may_change_networks(copy._relay.pid)
                await copy.resume()
                await copy.connect()
            everybodys = {str(each) for place in places for each in (place.root_disk, place.seed)}
            for each, place in zip(machines, places, strict=True):
                assert tap_is_up(each)
                assert not may_change_networks(each._relay.pid)
                assert who_listens(place.runtime / "vsock.sock") == each.process.pid
                own = {str(place.root_disk), str(place.seed)}
                assert open_files(each) & everybodys == own
                assert (await each._call("GET", "/", None))["state"] == "Running"
        finally:
            for each in machines:
                await each.kill()

    asyncio.run(run())
    loads = [body for _, path, body in requests if path == "/snapshot/load"]
    assert [each["network_overrides"][0]["host_dev_name"] for each in loads] == ["tap0", "tap0"]
    # All that is a VM's is found from its own directory
    assert str(banger_paths.runtime) not in json.dumps(loads)
    assert not leaks.processes_using(banger_paths.runtime)


def test_a_copy_whose_relay_is_gone_is_not_let_go(driver, spec, cx, into):
    async def run():
        machine = await driver.start(spec, cx)
        await machine.snapshot(into)
        await machine.kill()
        copy = await driver.restore(spec, into, cx)
        try:
            signal_process(copy._relay, signal.SIGKILL)
            await wait_process(copy._relay)
            with pytest.raises(GuestFailed, match="relay"):
                await copy.connect()
        finally:
            await copy.kill()

    asyncio.run(run())


def test_a_card_that_cannot_be_connected_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(Relay, "_connect", lambda _: Refusing())
    with pytest.raises(GuestFailed, match="stays cut off") as caught:
        asyncio.run(Relay(tmp_path).connect())
    assert caught.value.cause == "no such device"


class Refusing(socket.socket):
    """A relay that refuses."""

    def __init__(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(fileno=ours.detach())
        theirs.send(b'{"error": "no such device"}')
        self.theirs = theirs

    def close(self):
        self.theirs.close()
        super().close()


def test_a_machine_of_an_older_banger_is_not_saved(spec):
    older = {key: value for key, value in spec.data.items() if key != "disks"}
    with pytest.raises(Conflict) as caught:
        requirements(replace(spec, data=older), "1.16.2")
    assert "older banger" in caught.value.cause
    assert caught.value.hints == ("banger vm restart NAME",)


def test_a_snapshot_of_an_older_banger_is_refused(into):
    (into / "manifest.json").write_text(json.dumps({"format": 2, "driver": "firecracker"}))
    with pytest.raises(IntegrityError) as caught:
        check_snapshot(into, "1.16.2", "amd64")
    assert "older banger" in caught.value.cause


def test_a_firecracker_that_cannot_move_cards_restores_none(driver, plan, dirs, spec):
    with pytest.raises(HostNotReady, match=r"1\.11\.0 cannot connect") as caught:
        check_movable(spec, "1.11.0")
    assert caught.value.hints
    check_movable(spec, "1.12.0")
    alone = replace(plan, net=NetPlan(network="none", kind="none"))
    check_movable(driver.launch(alone, dirs, "kvm"), "1.11.0")
