"""The real jailer: another user, another root, and everything as it was afterwards."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from firecracker_parts import firecracker_binary, tap_is_up

from banger_core.api import HostNotReady, NoSpace
from banger_core.testing import leaks
from banger_core.testing.contracts import tiny_guest
from banger_core.testing.contracts.samples import free_net

UID, GID = 54321, 54322


@pytest.fixture
def plan(plan):
    return replace(plan, memory=32 << 20)


@pytest.fixture
def jailed(cx):
    cx._settings["jail"] = {
        "uid": UID,
        "gid": GID,
        "jailer_bin": str(firecracker_binary("jailer")),
    }
    return cx


def facts(pid):
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (row.partition(":") for row in rows)}


def test_firecracker_is_nobody_and_sees_nothing(driver, spec, jailed, dirs, banger_paths):
    async def run():
        machine = await driver.start(spec, jailed)
        try:
            status = facts(machine.process.pid)
            root = Path(f"/proc/{machine.process.pid}/root").readlink()
            assert spec.sockets["api"].stat().st_mode & 0o077 == 0
            into = banger_paths.state / "snapshot"
            into.mkdir(parents=True)
            await machine.snapshot(into)
            assert (into / "memory").stat().st_uid == os.geteuid()
            assert (await machine.metrics())["utc_timestamp_ms"]
            adopted = await driver.adopt(spec, machine.process, jailed)
            await adopted.pause()
            await adopted.resume()
        finally:
            await machine.kill()
        return status, root

    before = dirs.root_disk.stat()
    status, root = asyncio.run(run())
    assert set(status["Uid"]) == {str(UID)}
    assert set(status["Gid"]) == {str(GID)}
    assert int(status["CapEff"][0], 16) == 0
    assert root == Path("/")
    after = dirs.root_disk.stat()
    assert (after.st_uid, after.st_ino, after.st_nlink) == (before.st_uid, before.st_ino, 1)
    assert not (dirs.state / "jail").exists()
    assert not leaks.processes_using(dirs.runtime)


def test_only_root_has_jails(driver, spec, jailed, monkeypatch):
    monkeypatch.setattr("banger_firecracker.jail.os.geteuid", lambda: 1000)
    with pytest.raises(HostNotReady, match="only root"):
        asyncio.run(driver.start(spec, jailed))
    assert not jailed.spawned


def test_a_snapshot_goes_into_a_jail_and_stays_as_it_is(
    driver, plan, dirs, jailed, cx, into, banger_paths
):
    copy = replace(plan, id="c0ffee000001", net=free_net())
    apart = replace(banger_paths, runtime=banger_paths.runtime / "1")
    apart.runtime.mkdir(mode=0o700)
    place = tiny_guest(apart)
    own, others = (driver.launch(*each, "kvm") for each in ((plan, dirs), (copy, place)))

    async def run():
        machine = await driver.start(own, jailed)
        machines = [machine]
        try:
            await machine.snapshot(into)
            before = entries(into)
            restored = await driver.restore(others, into, jailed)
            machines.append(restored)
            assert entries(into) == before
            jail = place.state / "jail" / "firecracker" / copy.id / "root"
            # What it has mapped is nobody's any more
            assert not {"memory", "state"} & {path.name for path in jail.iterdir()}
            for path in into.iterdir():
                path.unlink()
            assert set(facts(restored.process.pid)["Uid"]) == {str(UID)}
            assert not tap_is_up(restored, user=False)
            await restored.resume()
            await restored.connect()
            assert tap_is_up(restored, user=False)
            adopted = await driver.adopt(others, restored.process, jailed)
            await adopted.pause()
            # One that went into a jail can be saved again, and go on outside
            await adopted.snapshot(into)
            await adopted.kill()
            free = await driver.restore(others, into, unjailed(cx))
            machines.append(free)
            await free.resume()
            assert set(facts(free.process.pid)["Uid"]) == {str(os.geteuid())}
            assert (await free._call("GET", "/", None))["state"] == "Running"
        finally:
            for each in machines:
                await each.kill()

    asyncio.run(run())
    assert not (place.state / "jail").exists()
    assert place.root_disk.stat().st_nlink == 1
    assert not leaks.processes_using(banger_paths.runtime)


def entries(directory):
    """All of the files there that could have changed."""
    states = {path.name: path.stat() for path in directory.iterdir()}
    return {
        name: (each.st_ino, each.st_mode, each.st_uid, each.st_nlink, each.st_size, each.st_mtime)
        for name, each in states.items()
    }


def unjailed(cx):
    cx._settings.pop("jail")
    return cx


def test_a_jail_that_gets_no_memory_is_removed(driver, spec, jailed, dirs, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    async def run():
        machine = await driver.start(spec, jailed)
        await machine.snapshot(tmp_path)
        await machine.kill()
        monkeypatch.setattr("banger_firecracker.jail.copy_sparse", full)
        with pytest.raises(NoSpace):
            await driver.restore(spec, tmp_path, jailed)

    asyncio.run(run())
    assert not (dirs.state / "jail").exists()
    assert not leaks.processes_using(dirs.runtime)
