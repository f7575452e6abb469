"""Disks that become larger, and disks for /root."""

from __future__ import annotations

import os
import subprocess

import pytest

from banger_core.errors import UsageProblem
from banger_core.rootfs.disks import clone_disk, grow_disk, make_work_disk
from banger_core.rootfs.qcow2 import overlay_room

MIB = 1 << 20


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.ext4"
    path.write_bytes(os.urandom(MIB))
    os.truncate(path, 8 * MIB)
    return path


def read(disk, tmp_path):
    out = tmp_path / "out.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, out], check=True)
    return out.read_bytes()


def test_an_overlay_grows_in_place_and_reads_as_before(base, tmp_path):
    disk = tmp_path / "root.qcow2"
    clone_disk(base, disk, format="qcow2", size=16 * MIB)
    subprocess.run(
        ["qemu-io", "-c", "write -P 7 12M 1M", disk], check=True, stdout=subprocess.DEVNULL
    )
    before = read(disk, tmp_path)
    blocks = disk.stat().st_blocks
    grow_disk(disk, 3 << 30)
    assert disk.stat().st_blocks == blocks
    subprocess.run(["qemu-img", "check", "-q", disk], check=True)
    subprocess.run(
        ["qemu-io", "-c", "write -P 9 2G 1M", disk], check=True, stdout=subprocess.DEVNULL
    )
    after = read(disk, tmp_path)
    assert len(after) == 3 << 30
    assert after[: 16 * MIB] == before
    assert after[2 << 30 : (2 << 30) + MIB] == b"\x09" * MIB
    grow_disk(disk, 64 * MIB)
    assert (
        b"3 GiB"
        in subprocess.run(["qemu-img", "info", disk], capture_output=True, check=True).stdout
    )


def test_an_overlay_has_room_for_terabytes_and_says_when_not_for_more(base, tmp_path):
    disk = tmp_path / "root.qcow2"
    clone_disk(base, disk, format="qcow2", size=8 * MIB)
    room = overlay_room(disk)
    assert room == 4 << 40
    before = disk.read_bytes()
    with pytest.raises(UsageProblem, match="cannot become so large"):
        grow_disk(disk, room + 1)
    assert disk.read_bytes() == before
    grow_disk(disk, room)
    subprocess.run(["qemu-img", "check", "-q", disk], check=True)


@pytest.mark.parametrize("content", [b"", b"QFI\xfb", b"x" * 104])
def test_what_is_no_overlay_is_left_alone(tmp_path, content):
    disk = tmp_path / "root.qcow2"
    disk.write_bytes(content)
    with pytest.raises(UsageProblem):
        grow_disk(disk, MIB)
    assert disk.read_bytes() == content


def test_a_raw_disk_grows_and_never_shrinks(base):
    grow_disk(base, 16 * MIB)
    assert base.stat().st_size == 16 * MIB
    grow_disk(base, 4 * MIB)
    assert base.stat().st_size == 16 * MIB


def test_a_work_disk_is_private_sparse_sound_and_unlike_any_other(tmp_path):
    uuids = set()
    for name in ("one", "two"):
        disk = tmp_path / name
        make_work_disk(disk, 10 << 30)
        assert disk.stat().st_mode & 0o777 == 0o600
        assert disk.stat().st_size == 10 << 30
        assert disk.stat().st_blocks * 512 < 16 * MIB
        subprocess.run(["e2fsck", "-f", "-n", disk], check=True, capture_output=True)
        head = subprocess.run(
            ["dumpe2fs", "-h", disk], capture_output=True, check=True, text=True
        ).stdout
        uuids.add(next(line for line in head.splitlines() if "UUID" in line))
        assert "resize_inode" in head
        assert "metadata_csum" in head
    assert len(uuids) == 2
