"""Images that have next to nothing, and machines that end in other ways than by request."""

from __future__ import annotations

import asyncio
import stat
import subprocess
from pathlib import Path

import pytest

from banger_core.engine.kvm import PROBE_MARK
from banger_qemu.command import base, kernel_command_line
from banger_qemu.driver import QemuDriver
from banger_qemu.machines import architecture
from banger_qemu.tsc import host_tsc_khz

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def clean(disk: Path) -> bool:
    done = subprocess.run(["e2fsck", "-fn", disk], check=False, capture_output=True)
    return done.returncode == 0


def test_busybox_image_with_its_own_init(boot, boot_parts, small_disk):
    """Busybox as everything: its init runs, nothing else is there."""
    busybox = boot_parts.guest.programs["busybox"]
    disk = small_disk({"bin/busybox": busybox, "bin/sh": "busybox", "sbin/init": "../bin/busybox"})

    async def run():
        async with boot(disk) as guest:
            assert await guest.run("banger-exec a1 sh -c 'exit 7'") == (7, "", "")
            _, output, _ = await guest.run("/bin/busybox readlink /proc/1/exe; echo $HOME $0")
            assert output == "/bin/busybox\n/root /bin/sh\n"
            await guest.run("banger-poweroff")
            async with asyncio.timeout(60):
                assert (await guest.machine.wait()).reason == "guest-shutdown"
        assert clean(guest.dirs.root_disk)

    asyncio.run(run())


def test_scratch_image(boot, boot_parts, small_disk, initrd):
    """One static program in an otherwise empty image: no shell, no accounts, no directories."""
    disk = small_disk({"busybox-app": boot_parts.guest.programs["busybox"]})

    async def run():
        async with boot(disk) as guest:
            assert await guest.run("banger-exec a1 /busybox-app echo hello") == (0, "hello\n", "")
            assert (await guest.run("banger-exec a1 missing"))[0] == 127
            # The pack's programs stand in
            assert (await guest.run("cat /etc/passwd"))[1].startswith("root:x:0:0:")
            assert (await guest.run("banger-exec a1 ls /"))[0] == 0
            await guest.run("banger-poweroff")
            async with asyncio.timeout(60):
                assert (await guest.machine.wait()).reason == "guest-shutdown"
        assert clean(guest.dirs.root_disk)

    asyncio.run(run())


def test_idle_connections_end_and_busy_ones_do_not(boot, boot_parts, small_disk):
    disk = small_disk({"busybox-app": boot_parts.guest.programs["busybox"]})

    async def run():
        async with boot(disk, idle_limit=4) as guest:
            # ssh itself keeps asking whether the guest lives: that is no traffic
            alive = ("-o", "ServerAliveInterval=1")
            idle = asyncio.create_task(guest.run("banger-exec a1 sleep 50", *alive))
            ticks = "i=0; while [ $i -lt 12 ]; do echo; sleep 1; i=$((i + 1)); done; echo done"
            busy = await guest.run(f"banger-exec a2 sh -c '{ticks}'", *alive)
            assert busy == (0, "\n" * 12 + "done\n", "")
            assert (await idle)[0] == 255

    asyncio.run(run())


def test_unmountable_root_ends_the_machine(boot, workplace):
    """A disk that is none: the guest says so on its console and powers off."""
    disk = workplace / "garbage"
    disk.write_bytes(bytes(1 << 20))

    async def run():
        async with boot(disk, wait=False) as guest, asyncio.timeout(60):
            await guest.machine.wait()
            assert b"@@ banger failed the root disk cannot be mounted" in guest.console

    asyncio.run(run())


def test_driver_controls_the_machine(boot, boot_parts, cx):
    """Pause, resume, adoption by another daemon, and a stop that needs nobody in the guest."""

    async def run():
        async with boot(boot_parts.debian) as guest:
            machine = guest.machine
            for place in guest.dirs.runtime.iterdir():
                assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0
            await machine.pause()
            argv = ["ssh", "-o", "ConnectTimeout=2", *guest.ssh_argv()[1:], "true"]
            done = await asyncio.to_thread(subprocess.run, argv, capture_output=True)
            assert done.returncode == 255
            await machine.resume()
            assert await guest.run("echo dirty >/root/file; echo back") == (0, "back\n", "")

            await guest.forget()
            driver = QemuDriver()
            spec = driver.launch(guest.plan, guest.dirs, "tcg")
            guest.machine = await driver.adopt(spec, machine.process, cx)
            waiting = asyncio.create_task(guest.machine.wait())
            await guest.machine.stop(60)
            async with asyncio.timeout(60):
                ended = await waiting
            assert ended.reason == "guest-shutdown"
        assert clean(guest.dirs.root_disk)

    asyncio.run(run())


def test_panic_has_a_name(boot, boot_parts):
    """Whoever waits learns how the machine ended."""

    async def run():
        async with boot(boot_parts.debian) as guest:
            await guest.run("until grep -q pvpanic_mmio /proc/modules; do sleep 0.1; done")
            crash = asyncio.create_task(guest.run("sleep 0.2; echo c >/proc/sysrq-trigger"))
            async with asyncio.timeout(60):
                ended = await guest.machine.wait()
            assert (ended.status, ended.reason) == (1, "guest-panic")
            crash.cancel()

    asyncio.run(run())


def test_the_trial_kernel_says_its_line_and_ends(boot_parts, initrd):
    """What the verdict on KVM waits for, under emulation: it takes neither disk nor network."""
    parts = architecture("amd64")
    argv = [
        *base(parts, "tcg", memory=128 << 20, vcpu=1),
        *("-kernel", boot_parts.kernel.vmlinux, "-initrd", initrd),
        *("-append", f"{kernel_command_line(parts, 'tcg', host_tsc_khz())} banger.probe"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
    ]
    done = subprocess.run(
        argv, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60
    )
    assert PROBE_MARK in done.stdout
