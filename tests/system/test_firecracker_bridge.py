"""The real Firecracker on the real bridge, on a host of its own: a network namespace.

Its guest has a hundred bytes. NOT PROVEN here: what a Linux guest sends over such a tap, which
``test_bridge_network.py`` shows with the default driver, and with Firecracker where KVM boots Linux
(``BANGER_TEST_DRIVER=firecracker``).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from dataclasses import replace

import pytest
from bridge_space import Host, everything, sh
from firecracker_parts import firecracker_binary

from banger_bridge.network import BridgeNetwork
from banger_bridge.settings import BridgeSettings
from banger_core.model import VmRequest
from banger_core.testing import leaks
from banger_core.testing.context import FakeContext
from banger_core.testing.contracts import tiny_guest
from banger_core.testing.contracts.samples import sample_plan
from banger_firecracker.driver import FirecrackerDriver

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("bridge")]

SETTINGS = BridgeSettings().model_dump()
IDS = ("0123456789ab", "c0ffee000001")


@pytest.fixture
def host():
    if os.geteuid() != 0:
        pytest.skip("network namespaces with a bridge take root")
    one = Host()
    with one.inside():
        yield one
    one.close()


@pytest.fixture
def vms(banger_paths):
    """A VM and one that is to be its copy: plans and files."""
    found, taken = [], []
    for number, vm_id in enumerate(IDS):
        net = BridgeNetwork().plan(vm_id, VmRequest(), taken, SETTINGS)
        taken.append(net)
        apart = replace(banger_paths, runtime=banger_paths.runtime / str(number))
        apart.runtime.mkdir(parents=True, mode=0o700)
        plan = replace(sample_plan(driver="firecracker", net=net), id=vm_id, memory=32 << 20)
        found.append((plan, tiny_guest(apart)))
    return found


def jail():
    return {"jail": {"uid": 54321, "gid": 54322, "jailer_bin": str(firecracker_binary("jailer"))}}


def link(tap):
    return json.loads(sh("ip", "-json", "link", "show", tap))[0]


def opened(machine):
    """The interfaces whose other end a process holds."""
    argv = ["grep", "-hs", "^iff:", "-r", f"/proc/{machine.process.pid}/fdinfo"]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return {line.split()[1] for line in said.splitlines()}


@pytest.mark.parametrize("jailed", [False, True], ids=["free", "jailed"])
def test_it_runs_behind_walls_and_its_copy_is_let_in_last(
    host, vms, banger_paths, tmp_path, jailed
):
    network, driver = BridgeNetwork(), FirecrackerDriver()
    contexts = {
        "bridge": FakeContext(tmp_path / "bridge", SETTINGS),
        "firecracker": FakeContext(
            tmp_path / "firecracker",
            {
                "firecracker_bin": str(firecracker_binary()),
                "allow_unsafe_version": True,
                **(jail() if jailed else {}),
            },
        ),
    }
    before, into = everything(), banger_paths.state / "snapshot"
    into.mkdir(parents=True)
    launches = [driver.launch(plan, dirs, "kvm") for plan, dirs in vms]
    nets = [plan.net for plan, _ in vms]

    async def life():
        machines = []
        try:
            await network.up(nets[0], contexts["bridge"])
            machines.append(await driver.start(launches[0], contexts["firecracker"]))
            await machines[0].snapshot(into)

            await network.up(nets[1], contexts["bridge"])
            await network.hold(nets[1], contexts["bridge"])
            machines.append(await driver.restore(launches[1], into, contexts["firecracker"]))
            rules = sh("nft", "list", "ruleset")
            for each, net in zip(machines, nets, strict=True):
                assert opened(each) == {net.tap}
                assert net.mac in rules
                assert net.tap in rules
                assert link(net.tap)["master"] == "banger0"
            assert "UP" in link(nets[0].tap)["flags"]
            assert "UP" not in link(nets[1].tap)["flags"]
            await machines[1].resume()
            await machines[1].connect()
            assert "UP" not in link(nets[1].tap)["flags"]
            await network.release(nets[1], contexts["bridge"])
            assert "UP" in link(nets[1].tap)["flags"]
            for each in machines:
                assert (await each._call("GET", "/", None))["state"] == "Running"
        finally:
            for each in machines:
                await each.kill()
            for net in nets:
                await network.down(net, contexts["bridge"])

    asyncio.run(life())
    assert everything() == before
    assert not leaks.processes_using(banger_paths.runtime)
