"""Against the real archive: a few minutes, and about 100 MiB of downloads."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from banger_core.api import ImageRef
from banger_core.kernel.vmlinux import pvh_entry
from banger_core.rootfs.build import build_rootfs
from banger_core.testing.context import FakeContext
from banger_debian.elf import read_needs
from banger_debian.guest import DebianGuest
from banger_debian.image import DebianImages
from banger_debian.kernels import DebianKernels

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cx(tmp_path_factory):
    return FakeContext(tmp_path_factory.mktemp("debian"))


@pytest.mark.parametrize("name", ["bookworm-cloud", "trixie-cloud"])
def test_a_kernel_is_ready_for_a_direct_boot(name, cx, tmp_path):
    async def work():
        pin = await DebianKernels().resolve(name, cx)
        return pin, await DebianKernels().materialise(pin, tmp_path, cx)

    pin, files = asyncio.run(work())
    kernel = files.vmlinux.read_bytes()
    assert pvh_entry(kernel)
    assert f"Linux version {pin.version} ".encode() in kernel
    names = {path.name.partition(".ko")[0] for path in files.modules.rglob("*.ko*")}
    assert {"virtio_blk", "virtio_net", "virtio_mmio", "overlay"} <= names
    assert "kernel/" in (files.modules / "modules.order").read_text()


def test_the_guest_runtime_is_complete_and_runs(cx):
    async def work():
        pin = await DebianGuest().resolve("amd64", cx)
        return await DebianGuest().materialise(pin, cx)

    files = asyncio.run(work())
    for path in (*files.programs.values(), *files.libraries.values()):
        assert set(read_needs(path.read_bytes()).libraries) <= set(files.libraries)
    loader = files.libraries[files.loader]
    for name in ("dropbear", "scp", "sftp-server"):
        command = [loader, "--library-path", loader.parent, "--verify", files.programs[name]]
        assert subprocess.run(command, check=False).returncode == 0, name
        listed = subprocess.run(
            [*command[:3], "--list", files.programs[name]],
            check=True,
            capture_output=True,
            text=True,
        )
        assert "not found" not in listed.stdout
    shell = subprocess.run(
        [files.programs["busybox"], "echo", "hello"], check=True, capture_output=True
    )
    assert shell.stdout == b"hello\n"


def debugfs(disk, command):
    return subprocess.run(
        ["/usr/sbin/debugfs", "-R", command, disk], check=True, capture_output=True, text=True
    ).stdout


def test_an_image_becomes_a_file_system_without_a_trace_of_the_host(cx, tmp_path):
    async def work():
        pin = await DebianImages().resolve(ImageRef.parse("debian://bookworm"), cx)
        await DebianImages().fetch(pin, cx)
        return pin

    pin = asyncio.run(work())
    assert not list((cx.cache_dir / "build").iterdir())
    disk = tmp_path / "root.ext4"
    build_rootfs(
        lambda: DebianImages().layers(pin, cx), disk, size=2 << 30, identity=pin.digest.encode()
    )
    check = subprocess.run(["/usr/sbin/e2fsck", "-fn", disk], check=False, capture_output=True)
    assert check.returncode == 0, check.stdout
    assert debugfs(disk, "cat /etc/resolv.conf") == ""
    assert debugfs(disk, "cat /etc/hostname") == "localhost\n"
    assert "VERSION_CODENAME=bookworm" in debugfs(disk, "cat /usr/lib/os-release")
    sources = debugfs(disk, "cat /etc/apt/sources.list").splitlines()
    assert [line.split()[-2] for line in sources] == [
        "bookworm",
        "bookworm-updates",
        "bookworm-security",
    ]
    assert "unsafe-io" not in debugfs(disk, "cat /etc/dpkg/dpkg.cfg.d/99mmdebstrap")
    assert "_Packages" not in debugfs(disk, "ls /var/lib/apt/lists")
    assert "sshd" not in debugfs(disk, "ls /usr/sbin")
