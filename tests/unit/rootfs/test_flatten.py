"""The content of disks that QEMU wrote to, read without QEMU."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess

import pytest

from banger_core.errors import IntegrityError
from banger_core.rootfs.disks import clone_disk
from banger_core.rootfs.flatten import flat_content

MIB = 1 << 20


def content(disk):
    return b"".join(bytes(piece) for piece in flat_content(disk))


def qemu_img(*words):
    assert shutil.which("qemu-img"), "install qemu-utils"
    done = subprocess.run(["qemu-img", *map(str, words)], capture_output=True, check=True)
    return done.stdout


def qemu_io(disk, *commands):
    words = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", "qcow2", *words, str(disk)], capture_output=True, check=True)


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.raw"
    path.touch()
    with path.open("r+b") as file:
        file.write(random.Random(1).randbytes(MIB))
        file.seek(5 * MIB)
        file.write(b"x" * 70_000)
        file.truncate(8 * MIB)
    return path


def as_qemu_reads_it(disk, tmp_path):
    out = tmp_path / "flat.raw"
    qemu_img("convert", "-O", "raw", disk, out)
    return out.read_bytes()


@pytest.mark.parametrize("size", [8 * MIB, 11 * MIB, 8 * MIB + 512])
def test_an_overlay_that_was_written_to(base, tmp_path, size):
    disk = tmp_path / "disk.qcow2"
    clone_disk(base, disk, format="qcow2", size=size)
    assert content(disk) == base.read_bytes() + bytes(size - 8 * MIB)
    qemu_io(
        disk,
        "write -P 7 100k 300k",
        "write -P 9 5M 4k",
        f"write -P 5 {size - 512} 512",
        "write -z 1M 256k",
        "discard 64k 64k",
        "write -z -u 512k 128k",
    )
    found = content(disk)
    assert found == as_qemu_reads_it(disk, tmp_path)
    assert found[200 << 10 : 201 << 10] == b"\7" * 1024
    assert any(isinstance(piece, int) for piece in flat_content(disk))


@pytest.mark.parametrize("cluster", ["4k", "64k", "2M"])
def test_files_that_qemu_made(base, tmp_path, cluster):
    disk = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"cluster_size={cluster}",
             "-b", base, "-F", "raw", disk, "9M")  # fmt: skip
    qemu_io(disk, "write -P 7 3M 5M")
    assert content(disk) == as_qemu_reads_it(disk, tmp_path)


def test_a_raw_disk_with_its_holes(base):
    pieces = list(flat_content(base))
    assert b"".join(map(bytes, pieces)) == base.read_bytes()
    assert any(isinstance(piece, int) for piece in pieces)


def test_files_of_other_kinds_are_refused(base, tmp_path):
    packed = tmp_path / "packed.qcow2"
    qemu_img("convert", "-c", "-O", "qcow2", base, packed)
    with pytest.raises(IntegrityError, match="cannot be read"):
        content(packed)
    snapped = tmp_path / "snapped.qcow2"
    clone_disk(base, snapped, format="qcow2", size=8 * MIB)
    qemu_img("snapshot", "-c", "one", snapped)
    with pytest.raises(IntegrityError):
        content(snapped)


@pytest.mark.parametrize(
    ("offset", "value"),
    [(4, 1), (4, 9), (20, 60), (32, 1), (36, 1), (36, 1 << 30), (40, 1 << 30), (72, 1 << 28)],
)
def test_a_strange_header_is_refused(base, tmp_path, offset, value):
    disk = tmp_path / "disk.qcow2"
    clone_disk(base, disk, format="qcow2", size=1 << 40)
    with disk.open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack(">I", value), offset)
    with pytest.raises(IntegrityError):
        next(flat_content(disk))
