"""Warm starts: the command lines, what a saved machine depends on, and the way in and out."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from banger_core.api import Conflict, GuestFailed, IntegrityError
from banger_core.engine.process import alive, recorded
from banger_core.testing.contracts import tiny_guest
from banger_qemu import warm
from banger_qemu.driver import QemuDriver
from banger_qemu.snapshots import requirements


@pytest.fixture
def driver():
    return QemuDriver(tsc_khz=2400000)


@pytest.fixture
def key(driver, dirs, make_plan, cx):
    (cx.state_dir / "cache").mkdir()
    cx.cache_dir = cx.state_dir / "cache"
    (cx.state_dir / "qemu").write_text("#!/bin/sh\n")
    (cx.state_dir / "qemu").chmod(0o700)
    cx.settings["binary"] = str(cx.state_dir / "qemu")

    def of(accel="tcg", where=dirs, tsc=driver, **plan):
        found = tsc.warm_key(make_plan(**plan), where, accel, cx)
        return found and (found.machine, found.tools)

    return of


def options(argv, name):
    return [argv[i + 1] for i, word in enumerate(argv) if word == name]


def devices(argv):
    return [word.partition(",")[0] for word in options(argv, "-device")]


def test_a_warm_start_differs_by_where_its_memory_comes_from(driver, dirs, make_plan):
    cold = driver.launch(make_plan(), dirs, "tcg")
    warm = driver.launch_warm(make_plan(), dirs, "tcg", Path("/c/x,y"))
    (memory,) = options(warm.argv, "-object")
    assert memory == (
        "memory-backend-file,id=microvm.ram,x-use-canonical-path-for-ramblock-id=off,"
        "size=512M,mem-path=/c/x,,y/memory,share=off"
    )
    rest = [word for word in warm.argv if word not in ("-object", memory)]
    assert [(old, new) for old, new in zip(cold.argv, rest, strict=True) if old != new] == [
        (options(cold.argv, "-machine")[0],
         options(cold.argv, "-machine")[0] + ",memory-backend=microvm.ram"),
    ]  # fmt: skip
    assert warm.sockets == cold.sockets
    # What is saved of either can be restored without knowing how it began
    assert requirements(warm, "7.2") == requirements(cold, "7.2")


@pytest.mark.parametrize("work", [None, Path("/s/work.raw")])
@pytest.mark.parametrize("kind", ["user", "none", "tap"])
def test_who_waits_has_the_same_devices_and_nothing_behind_them(
    driver, dirs, make_plan, cx, monkeypatch, work, kind
):
    plan = make_plan(net={"kind": kind, "tap": "t0", "forwards": ()})
    dirs, argv = replace(dirs, work_disk=work), []

    async def spawn(words, *, directory):
        argv.extend(words)
        raise Conflict("enough is known")

    monkeypatch.setattr(cx, "spawn", spawn)
    with pytest.raises(Conflict):
        asyncio.run(driver.make_warm(plan, dirs, "tcg", Path("/image"), cx))
    assert argv[:3] == ["nice", "-n", "19"]
    assert devices(argv) == devices(driver.launch(plan, dirs, "tcg").argv)
    assert options(argv, "-append")[0].endswith(" banger.warm")
    assert "mem-path=/image/memory,share=on" in options(argv, "-object")[0]
    text = " ".join(argv)
    for word in ("balloon", str(dirs.root_disk), str(dirs.seed), "work.raw", "hostfwd", "web",
                 "52:54:00:aa:bb:cc", "t0", "user,"):  # fmt: skip
        assert word not in text


def test_the_key_is_that_of_the_machine_not_of_the_vm(key, dirs, make_plan):
    first = key()
    elsewhere = replace(dirs, state=Path("/x"), runtime=Path("/y"), root_disk=Path("/z"))
    assert key(where=elsewhere, name="other", net={"mac": "52:54:00:00:00:01"}) == first
    assert key(net={"kind": "tap", "tap": "t0"}) == first
    assert key(tsc=QemuDriver(tsc_khz=1)) == first
    copy = dirs.state / "copy"
    copy.write_bytes(dirs.kernel.read_bytes())
    assert key(where=replace(dirs, kernel=copy)) == first


@pytest.mark.parametrize(
    ("plan", "changes"),
    [
        ({"memory": 256 << 20}, {}),
        ({"vcpu": 1}, {}),
        ({"net": {"kind": "none", "forwards": ()}}, {}),
        ({}, {"work_disk": Path("/s/work")}),
    ],
)
def test_another_machine_has_another_key(key, dirs, plan, changes):
    machine, tools = key()
    other = key(where=replace(dirs, **changes), **plan)
    assert other[0] != machine
    assert other[1] == tools


def test_whatever_it_is_made_with_counts(key, dirs, cx):
    machine, tools = key()
    dirs.kernel.write_bytes(b"other kernel")
    assert key()[0] != machine
    assert key()[1] == tools
    dirs.initrd.write_bytes(b"other initramfs")
    tools, before = key()[1], tools
    assert tools != before
    os.utime(cx.state_dir / "qemu", (1, 1))
    assert key()[1] != tools
    assert key("kvm")[0] != machine


def test_digests_are_remembered_and_a_damaged_memory_is_none(key, dirs, cx, monkeypatch):
    first = key()
    remembered = cx.cache_dir / "digests.json"
    monkeypatch.setattr("hashlib.file_digest", None)
    assert key() == first
    monkeypatch.undo()
    for damage in ("{", "[]"):
        remembered.write_text(damage)
        assert key() == first


def test_other_processors_are_not_started_warm(key):
    assert key(architecture="arm64") is None


def test_nothing_is_left_of_a_guest_that_does_not_wait(driver, make_plan, cx, place, banger_paths):
    """The tiny guest greets on its serial port and never waits."""
    dirs = tiny_guest(banger_paths)
    image = place / "image"
    image.mkdir(mode=0o700)
    plan = make_plan(disk_format="raw", vcpu=1)

    async def make():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(warm, "BOOT_DEADLINE", 0.5)
            await driver.make_warm(plan, dirs, "tcg", image, cx)

    with pytest.raises(GuestFailed, match="does not answer"):
        asyncio.run(make())
    assert not alive(recorded(dirs.runtime))
    (memory,) = image.iterdir()
    assert stat.S_IMODE(memory.stat().st_mode) == 0o600


def test_an_image_without_a_state_is_no_start(driver, make_plan, cx, place, banger_paths):
    dirs = tiny_guest(banger_paths)
    image = place / "image"
    image.mkdir(mode=0o700)
    (image / "memory").write_bytes(b"")
    os.truncate(image / "memory", 512 << 20)
    spec = driver.launch_warm(make_plan(disk_format="raw", vcpu=1), dirs, "tcg", image)
    with pytest.raises(IntegrityError):
        asyncio.run(driver.start(spec, cx))
    (image / "state").write_bytes(b"QEVM and nothing more")
    with pytest.raises(GuestFailed):
        asyncio.run(driver.start(spec, cx))
    assert not alive(recorded(dirs.runtime))
