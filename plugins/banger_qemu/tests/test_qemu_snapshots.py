from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from banger_core.api import GuestFailed, IntegrityError
from banger_core.engine.process import spawn
from banger_qemu.driver import QemuDriver
from banger_qemu.machine import QemuMachine
from banger_qemu.snapshots import open_state, requirements, written_version


@pytest.fixture
def with_machine(qmp_server, dirs, make_plan):
    """Run a function with a machine whose QEMU is the test's own server."""

    def run(use):
        async def check():
            process = await spawn(["sleep", "60"], directory=dirs.runtime)
            spec = QemuDriver(tsc_khz=1).launch(make_plan(), dirs, "tcg")
            spec = replace(spec, sockets={"qmp": qmp_server.path, "console": dirs.runtime / "none"})
            machine = QemuMachine(spec, process, None)
            async with qmp_server:
                try:
                    await use(machine)
                finally:
                    await machine.close()
                    await machine.kill()

        asyncio.run(check())

    return run


def commands(qmp_server):
    return [request["execute"] for request in qmp_server.seen]


@pytest.mark.parametrize(("status", "goes_on"), [("running", True), ("paused", False)])
def test_a_snapshot_that_fails_leaves_nothing_and_the_machine_as_it_was(
    with_machine, qmp_server, dirs, status, goes_on
):
    into = dirs.state / "snapshot"
    into.mkdir(mode=0o700)
    failed = {"status": "failed", "error-desc": "No space left on device"}
    qmp_server.answers["query-status"] = {"return": {"status": status}}
    qmp_server.answers["query-migrate"] = {"return": failed}

    async def use(machine):
        with pytest.raises(GuestFailed) as caught:
            await machine.snapshot(into)
        assert caught.value.cause == "No space left on device"

    with_machine(use)
    assert list(into.iterdir()) == []
    assert ("stop" in commands(qmp_server)) is goes_on
    assert ("cont" in commands(qmp_server)) is goes_on


def test_what_is_under_way_when_a_daemon_dies_does_not_stop_the_machine_later(
    with_machine, qmp_server
):
    answers = iter(["active", "cancelling", "cancelled"])
    query = qmp_server.send

    def send(message):
        if qmp_server.seen[-1]["execute"] == "query-migrate":
            message = {**message, "return": {"status": next(answers)}}
        query(message)

    qmp_server.send = send
    with_machine(lambda machine: machine.resume())
    assert commands(qmp_server)[-1] == "cont"
    assert commands(qmp_server).count("migrate_cancel") == 2


def test_nothing_is_announced_and_the_card_stays_unplugged(with_machine, qmp_server, dirs):
    (dirs.state / "state").write_bytes(b"stream")
    qmp_server.answers["query-migrate"] = {"return": {"status": "completed"}}

    async def use(machine):
        with open_state(dirs.state) as state:
            await machine.take_in(state)

    with_machine(use)
    asked = {each["execute"]: each.get("arguments") for each in qmp_server.seen}
    order = commands(qmp_server)
    assert asked["migrate-set-parameters"] == {"announce-rounds": 0}
    assert order.index("migrate-set-parameters") < order.index("migrate-incoming")
    assert asked["set_link"] == {"name": "card", "up": False}
    assert "cont" not in order
    assert "netdev_add" not in order


def test_what_a_snapshot_needs(dirs, make_plan):
    driver = QemuDriver(tsc_khz=1)
    needs = requirements(driver.launch(make_plan(), dirs, "tcg"), "7.2.22")
    assert needs["qemu"] == "7.2.22"
    assert needs["accel"] == "tcg"
    assert needs["processor"].startswith("max on ")
    assert (needs["memory"], needs["cpus"]) == ("512M", "2")
    assert needs["devices"].split().count("virtio-blk-device") == 2
    # Neither who it is nor where it lies
    other = make_plan(id="ba9876543210", name="db", net={"mac": "52:54:00:00:00:01"})
    assert requirements(driver.launch(other, dirs, "tcg"), "7.2.22") == needs
    assert requirements(driver.launch(make_plan(vcpu=4), dirs, "tcg"), "7.2.22") != needs


def test_versions_and_states_that_are_none(tmp_path):
    assert written_version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)") == "7.2.22"
    with pytest.raises(GuestFailed):
        written_version("none")
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "state").symlink_to("elsewhere")
    with pytest.raises(IntegrityError):
        open_state(tmp_path)
