"""Clones and seeds of disks."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading

import pytest

from banger_core.errors import HostNotReady, UsageProblem
from banger_core.rootfs import disks
from banger_core.rootfs.disks import clone_disk, minimum_disk, seed_for

MIB = 1 << 20


@pytest.fixture
def base(build, file_entry):
    content = random.Random(5).randbytes(3 * MIB)
    built = build(lambda: iter([file_entry(b"etc/f", content)]), name="base.ext4")
    return built, content


def qemu_reads(disk, commands):
    """Let QEMU itself read the disk, without a machine."""
    qemu = shutil.which("qemu-system-x86_64") or shutil.which("qemu-system-aarch64")
    if not qemu:
        pytest.skip("QEMU is the judge here and is not installed")
    lines = "".join(f'qemu-io d0 "{command}"\n' for command in commands)
    done = subprocess.run(
        [qemu, "-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio",
         "-drive", f"if=none,id=d0,format=qcow2,file={disk}"],
        input=f"info block\n{lines}quit\n",
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("size", [64 * MIB, 100 * MIB, 1 << 40])
def test_qemu_reads_and_writes_an_overlay(base, tmp_path, size):
    built, _ = base
    before = built.image.read_bytes()
    target = tmp_path / "over lay, odd.qcow2"
    clone_disk(built.image, target, format="qcow2", size=size)
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_blocks * 512 < MIB
    plain = target.rename(tmp_path / "overlay.qcow2")
    said = qemu_reads(
        plain,
        [
            "read -P 0x53 1080 1",
            "read -P 0xef 1081 1",
            f"write -P 0x77 {MIB} 512",
            f"read -P 0x77 {MIB} 512",
            f"write -P 0x78 {size - 512} 512",
            f"read -P 0x78 {size - 512} 512",
            "length",
        ],
    )
    assert "Pattern verification failed" not in said
    assert said.count("read ") >= 4
    assert str(built.image) in said
    assert built.image.read_bytes() == before
    length = {64 * MIB: "64 MiB", 100 * MIB: "100 MiB", 1 << 40: "1 TiB"}[size]
    assert length in said


def test_beyond_the_base_an_overlay_is_zeros(base, tmp_path):
    built, _ = base
    clone_disk(built.image, tmp_path / "o.qcow2", format="qcow2", size=128 * MIB)
    said = qemu_reads(tmp_path / "o.qcow2", [f"read -P 0 {64 * MIB} {64 * MIB}"])
    assert "Pattern verification failed" not in said
    assert "read 67108864/67108864" in said


@pytest.mark.parametrize("way", ["as it can", "without sharing", "without help of the kernel"])
def test_raw_clones_are_equal_sparse_and_private(base, tmp_path, monkeypatch, way):
    built, _ = base
    if way != "as it can":
        monkeypatch.setattr(disks, "_share_blocks", lambda *_: False)
    if way == "without help of the kernel":

        def refuse(*_):
            raise OSError(disks.EXDEV, "not here")

        monkeypatch.setattr(os, "copy_file_range", refuse)
    target = tmp_path / "clone.raw"
    clone_disk(built.image, target, format="raw", size=96 * MIB)
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_size == 96 * MIB
    assert target.read_bytes() == built.image.read_bytes() + bytes(32 * MIB)
    assert target.stat().st_blocks <= built.image.stat().st_blocks + 64
    with target.open("r+b") as file:
        file.write(b"x" * 4096)
    assert built.image.read_bytes()[:4096] != b"x" * 4096


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
@pytest.mark.parametrize("size", [0, 63 * MIB, 64 * MIB + 1])
def test_clones_are_never_smaller_than_their_base(base, tmp_path, kind, size):
    built, _ = base
    with pytest.raises(UsageProblem):
        clone_disk(built.image, tmp_path / "clone", format=kind, size=size)
    assert not (tmp_path / "clone").exists()


def test_unknown_formats_are_refused(base, tmp_path):
    with pytest.raises(UsageProblem, match="vmdk"):
        clone_disk(base[0].image, tmp_path / "clone", format="vmdk", size=64 * MIB)


def test_a_seed_of_the_same_size_is_the_base_itself(base, tmp_path):
    assert seed_for(base[0].image, 64 * MIB, tmp_path / "seeds") == base[0].image
    assert not (tmp_path / "seeds").exists()


@pytest.mark.parametrize("size", [200 * MIB, 10 << 30])
def test_a_grown_seed_is_clean_and_whole(base, tmp_path, fsck, read_image, size):
    built, content = base
    seed = seed_for(built.image, size, tmp_path / "seeds")
    fsck(seed)
    assert seed.stat().st_size == size
    assert seed.stat().st_mode & 0o777 == 0o600
    assert seed.stat().st_blocks * 512 < 40 * MIB
    assert read_image(seed)[b"etc/f"].content() == content
    inode = seed.stat().st_ino
    assert seed_for(built.image, size, tmp_path / "seeds").stat().st_ino == inode


def test_seeds_shrink_down_to_the_minimum_that_the_facts_promise(
    build, file_entry, tmp_path, fsck, read_image
):
    def layer():
        yield from (file_entry(b"%d" % number, b"x" * 9000) for number in range(3000))

    built = build(layer, size=4 << 30)
    least = minimum_disk(built.facts)
    assert 64 * MIB <= least < 4 << 30
    seed = seed_for(built.image, least, tmp_path / "seeds")
    fsck(seed)
    assert seed.stat().st_size == least
    assert len(read_image(seed)) == 3001
    with pytest.raises(UsageProblem) as caught:
        seed_for(built.image, 16 * MIB, tmp_path / "seeds")
    assert caught.value.hints
    assert not [place for place in (tmp_path / "seeds").iterdir() if "partial" in place.name]


def test_a_rebuilt_base_gets_a_seed_of_its_own(base, build, file_entry, tmp_path):
    old = seed_for(base[0].image, 128 * MIB, tmp_path / "seeds")
    build(lambda: iter([file_entry(b"new", b"new")]), name="base.ext4")
    assert seed_for(base[0].image, 128 * MIB, tmp_path / "seeds") != old


def test_concurrent_callers_share_one_seed(base, tmp_path, monkeypatch):
    built, _ = base
    made, seeds = [], []
    real = disks._make_seed
    monkeypatch.setattr(disks, "_make_seed", lambda *how: (made.append(how), real(*how)))
    ask = lambda: seeds.append(seed_for(built.image, 96 * MIB, tmp_path / "seeds"))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seeds) == 5
    assert len(set(seeds)) == len(made) == 1


def test_a_failed_seed_leaves_nothing_and_is_made_the_next_time(base, tmp_path, monkeypatch):
    built, _ = base

    def missing(*_):
        raise HostNotReady("no resize2fs")

    with monkeypatch.context() as patch:
        patch.setattr(disks, "resize", missing)
        with pytest.raises(HostNotReady):
            seed_for(built.image, 96 * MIB, tmp_path / "seeds")
    assert [place.suffix for place in (tmp_path / "seeds").iterdir()] == [".lock"]
    assert seed_for(built.image, 96 * MIB, tmp_path / "seeds").exists()
