"""A real Firecracker as it lives: metrics, snapshots, and losing what is beside it."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from banger_core.api import (
    GuestFailed,
    HostNotReady,
    IntegrityError,
    process_alive,
    signal_process,
    wait_process,
)
from banger_core.testing import leaks
from banger_firecracker import driver as driver_module
from banger_firecracker import lastwords
from banger_firecracker.host.launch import MARK


def test_metrics_are_those_of_now(driver, spec, cx):
    async def run():
        machine = await driver.start(spec, cx)
        try:
            first = await machine.metrics()
            # They are stamped in whole milliseconds
            await asyncio.sleep(0.005)
            return first, await machine.metrics()
        finally:
            await machine.kill()

    first, second = asyncio.run(run())
    assert first["utc_timestamp_ms"] < second["utc_timestamp_ms"]
    assert "drive_count" in first["put_api_requests"]


def test_a_restored_machine_goes_on(driver, spec, cx, into, requests):
    async def run():
        machine = await driver.start(spec, cx)
        await machine.pause()
        await machine.snapshot(into)
        assert (await machine._call("GET", "/", None))["state"] == "Paused"
        await machine.kill()
        restored = await driver.restore(spec, into, cx)
        try:
            assert (await restored._call("GET", "/", None))["state"] == "Paused"
            await restored.connect()
            await restored.resume()
            assert "utc_timestamp_ms" in await restored.metrics()
            return (await restored._call("GET", "/", None))["state"]
        finally:
            await restored.kill()

    assert asyncio.run(run()) == "Running"
    assert {path.name for path in into.iterdir()} == {"memory", "state", "manifest.json"}
    load = next(body for _, path, body in requests if path == "/snapshot/load")
    assert load["network_overrides"] == [{"iface_id": "eth0", "host_dev_name": "tap0"}]


@pytest.mark.parametrize("harm", ["manifest", "version", "gone", "short"])
def test_a_snapshot_that_is_not_what_it_was_is_refused(driver, spec, cx, into, harm):
    async def run():
        machine = await driver.start(small(spec), cx)
        await machine.snapshot(into)
        await machine.kill()
        began = len(cx.spawned)
        spoil(into, harm)
        with pytest.raises(IntegrityError) as caught:
            await driver.restore(small(spec), into, cx)
        assert len(cx.spawned) == began
        return caught.value

    assert asyncio.run(run()).cause


def small(spec):
    calls = [
        [method, path, {**body, "mem_size_mib": 32} if "mem_size_mib" in body else body]
        for method, path, body in spec.data["calls"]
    ]
    return replace(spec, data={**spec.data, "calls": calls})


def spoil(into, harm):
    if harm == "short":
        with (into / "memory").open("r+b") as file:
            file.truncate(4096)
    elif harm == "gone":
        (into / "memory").unlink()
    elif harm == "manifest":
        (into / "manifest.json").write_text('{"format": 1, "files": {"memory": 1}}')
    else:
        manifest = json.loads((into / "manifest.json").read_text())
        (into / "manifest.json").write_text(json.dumps({**manifest, "version": "1.0.0"}))


def test_a_snapshot_that_fails_leaves_nothing(driver, spec, cx, into):
    async def run():
        machine = await driver.start(spec, cx)
        try:
            (into / "memory").mkdir()
            with pytest.raises((GuestFailed, HostNotReady, OSError, IntegrityError)):
                await machine.snapshot(into)
            assert (await machine._call("GET", "/", None))["state"] == "Running"
        finally:
            await machine.kill()

    asyncio.run(run())
    assert not (into / "state").exists()


def test_a_machine_without_its_relay_can_be_ended(driver, spec, cx, caplog):
    async def run():
        machine = await driver.start(spec, cx)
        signal_process(machine._relay, signal.SIGKILL)
        await wait_process(machine._relay)
        adopted = await driver.adopt(spec, machine.process, cx)
        assert process_alive(adopted.process)
        with pytest.raises(GuestFailed, match="relay"):
            await adopted.remove_forward(driver_module.forwards_of(spec)[0])
        await adopted.kill()
        return await adopted.wait()

    assert asyncio.run(run()).reason == "killed"
    assert "no relay beside" in caplog.text
    assert not leaks.processes_using(spec.sockets["api"].parent)


def test_nothing_of_the_network_survives_the_machine(driver, spec, cx):
    def outsiders(pid):
        text = f"/proc/{pid}/task/{pid}/children"
        with Path(text).open() as file:
            return [int(child) for child in file.read().split()]

    async def run():
        machine = await driver.start(spec, cx)
        (slirp,) = outsiders(machine._relay.pid)
        signal_process(machine.process, signal.SIGKILL)
        await machine.wait()
        return slirp

    slirp = asyncio.run(run())
    assert not leaks.end({slirp})


@pytest.mark.parametrize(
    ("words", "kind", "hint"),
    [
        (f"{MARK}cannot make a user and network namespace: no", HostNotReady, "sysctl"),
        (f"{MARK}cannot use /dev/net/tun: no", HostNotReady, "/dev/net/tun"),
        ("2026-01-01T00:00:00 [x:main] Arguments parsing error: y", GuestFailed, ""),
    ],
)
def test_last_words_become_an_error(tmp_path, words, kind, hint):
    log = tmp_path / "vmm.log"
    log.write_text(f"noise\n{words}\n2026-01-01T00:00:00 [x:main] Firecracker exiting. code=1\n")
    problem = asyncio.run(lastwords.explain_end(tmp_path))
    assert type(problem) is kind
    assert problem.cause in words
    assert hint in " ".join(problem.hints)


def test_the_host_says_what_it_lacks(driver, spec, cx, tmp_path):
    cx._settings["slirp_bin"] = "/bin/false"
    with pytest.raises(HostNotReady) as caught:
        asyncio.run(driver.start(spec, cx))
    assert "slirp" in caught.value.cause or "/bin/false" in caught.value.cause
    cx._settings["slirp_bin"] = "/nowhere/slirp4netns"
    with pytest.raises(HostNotReady, match="not installed"):
        asyncio.run(driver.start(spec, cx))


def test_another_processor_is_another_drivers_business(driver, spec, cx):
    foreign = replace(spec, data={**spec.data, "architecture": "arm64"})
    with pytest.raises(HostNotReady) as caught:
        asyncio.run(driver.start(foreign, cx))
    assert caught.value.hints == ("--driver qemu",)


def test_emulation_is_another_drivers_business(driver, dirs, cx):
    with pytest.raises(HostNotReady, match="cannot emulate"):
        asyncio.run(driver.accel("tcg", dirs, cx))
