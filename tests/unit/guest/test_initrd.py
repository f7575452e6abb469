from __future__ import annotations

import platform
import shutil
import stat
import struct
import subprocess
from dataclasses import replace
from importlib.resources import files

import pytest

from banger_core.errors import IntegrityError, UsageProblem
from banger_core.guest.initrd import SCRIPTS, build_initrd, initrd_digest
from banger_core.guest.reseed import reseed_program
from banger_core.model import GuestPin, KernelFiles


@pytest.fixture
def kernel(tmp_path, make_module):
    modules = tmp_path / "modules"
    (modules / "kernel").mkdir(parents=True)
    for name, needs in {
        "virtio_ring": (),
        "virtio_mmio": ("virtio_ring",),
        "virtio_blk": ("virtio_ring",),
        "virtio_net": ("virtio_ring",),
        "virtio-rng": ("virtio_ring",),
        "unused": (),
    }.items():
        (modules / "kernel" / f"{name}.ko").write_bytes(make_module(*needs))
    (modules / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    (tmp_path / "vmlinux").write_bytes(b"kernel")
    return KernelFiles(vmlinux=tmp_path / "vmlinux", modules=modules)


def entries(archive: bytes) -> dict[str, bytes]:
    """Read the archive back (newc)."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, length = fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        at += (110 + length + 3) & ~3
        if name == "TRAILER!!!":
            return found
        assert name not in found
        found[name] = archive[at : at + size]
        at += (size + 3) & ~3


def test_everything_is_in_its_place(guest_files, kernel, tmp_path):
    out = tmp_path / "initrd.cpio"
    build_initrd(guest_files, kernel, out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    found = entries(out.read_bytes())
    assert set(SCRIPTS.values()) <= set(found)
    assert found["mod/early"] == b"virtio_ring\nvirtio_mmio\n"
    assert found["mod/disks"] == b"virtio_blk\n"
    assert found["mod/card"] == b"virtio_net\n"
    assert found["mod/late"] == b"virtio_rng\n"
    assert found["mod/pci"] == b""
    assert "mod/unused.ko" not in found
    assert found["export/lib/ld.so"] == b"ld.so.2"
    assert found["bin"] == b"export/bin"
    assert found["export/bin/sh"] == b"busybox"
    assert found["banger/dropbear"].endswith(b"dropbear")


def test_same_input_gives_same_bytes(guest_files, kernel, tmp_path):
    build_initrd(guest_files, kernel, tmp_path / "one")
    build_initrd(guest_files, kernel, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_kernel_without_modules_is_fine(guest_files, kernel, tmp_path):
    build_initrd(guest_files, replace(kernel, modules=None), tmp_path / "out")
    assert not [name for name in entries((tmp_path / "out").read_bytes()) if name.startswith("mod")]


@pytest.mark.parametrize("name", ["virtio_blk", "virtio_net", "ext4"])
@pytest.mark.parametrize("how", ["list", "configuration"])
def test_a_kernel_that_lacks_what_a_guest_must_have_is_refused(
    guest_files, kernel, tmp_path, name, how
):
    if how == "list":
        for path in kernel.modules.rglob(f"{name}.ko"):
            path.unlink()
        builtin = kernel.modules / "modules.builtin"
        builtin.write_text(builtin.read_text().replace(name, "other"))
    else:
        names = {"virtio_mmio", "virtio_blk", "virtio_net", "ext4"} - {name}
        symbols = [{"ext4": "EXT4_FS"}.get(one, one.upper()) for one in sorted(names)]
        settings = [*symbols, "DEVTMPFS", "BLK_DEV_INITRD"]
        (tmp_path / "config").write_text("".join(f"CONFIG_{one}=y\n" for one in settings))
        kernel = replace(kernel, config=tmp_path / "config", modules=None)
    with pytest.raises(UsageProblem, match="no guest can boot") as caught:
        build_initrd(guest_files, kernel, tmp_path / "out")
    assert f"no {name}" in (caught.value.cause or "")
    assert not (tmp_path / "out").exists()


def test_a_kernel_with_everything_built_in_needs_no_modules(guest_files, kernel, tmp_path):
    names = ("VIRTIO_MMIO", "VIRTIO_BLK", "VIRTIO_NET", "EXT4_FS", "DEVTMPFS", "BLK_DEV_INITRD")
    (tmp_path / "config").write_text("".join(f"CONFIG_{name}=y\n" for name in names))
    own = replace(kernel, config=tmp_path / "config", modules=None)
    build_initrd(guest_files, own, tmp_path / "out")
    assert not [name for name in entries((tmp_path / "out").read_bytes()) if name.startswith("mod")]


@pytest.mark.parametrize(("machine", "refused"), [(62, True), (183, False)])
def test_a_kernel_for_pci_only_is_no_use_on_amd64(guest_files, kernel, tmp_path, machine, refused):
    kernel.vmlinux.write_bytes(
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HH", 2, machine) + bytes(100)
    )
    mmio = kernel.modules / "kernel/virtio_mmio.ko"
    mmio.rename(mmio.with_name("virtio_pci.ko"))
    if refused:
        with pytest.raises(UsageProblem) as caught:
            build_initrd(guest_files, kernel, tmp_path / "out")
        assert "virtio_mmio" in (caught.value.cause or "")
    else:
        build_initrd(guest_files, kernel, tmp_path / "out")
        assert b"mod/virtio_pci.ko" in (tmp_path / "out").read_bytes()


def test_runtime_without_its_loader_is_refused(guest_files, kernel, tmp_path):
    with pytest.raises(IntegrityError, match="loader"):
        build_initrd(replace(guest_files, loader="ld.so.9"), kernel, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_digest_follows_what_matters(kernel):
    pin = GuestPin(runtime="r", digest="sha256:1", architecture="amd64")
    first = initrd_digest(pin, kernel)
    assert first == initrd_digest(pin, kernel)
    assert first != initrd_digest(replace(pin, digest="sha256:2"), kernel)
    kernel.vmlinux.write_bytes(b"another kernel")
    assert first != initrd_digest(pin, kernel)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_scripts_parse(name):
    script = files("banger_core.guest") / "files" / name
    shells = [["sh"], *([["busybox", "sh"]] if shutil.which("busybox") else [])]
    for shell in shells:
        subprocess.run([*shell, "-n", str(script)], check=True)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="made of x86-64 code")
def test_reseed_program_runs(tmp_path):
    """The kernel of this host judges: it asks for fresh randomness, or is not allowed to."""
    program = tmp_path / "reseed"
    program.write_bytes(reseed_program(62))
    program.chmod(0o755)
    assert subprocess.run([program], check=False).returncode in (0, 1)


def test_no_reseed_program_for_other_processors():
    assert reseed_program(183) is None
