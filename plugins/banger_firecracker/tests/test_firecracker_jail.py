"""The real jailer: another user, another root, and everything as it was afterwards."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from firecracker_parts import firecracker_binary

from banger_core.api import HostNotReady
from banger_core.testing import leaks

UID, GID = 54321, 54322


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


def test_a_snapshot_does_not_go_into_a_jail(driver, spec, jailed, banger_paths):
    async def run():
        machine = await driver.start(spec, jailed)
        into = banger_paths.state / "snapshot"
        into.mkdir(parents=True)
        try:
            await machine.snapshot(into)
        finally:
            await machine.kill()
        with pytest.raises(HostNotReady, match="jail"):
            await driver.restore(spec, into, jailed)

    asyncio.run(run())
