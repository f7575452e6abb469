from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import random
import struct
import sys

import pytest

from banger_core import api
from banger_core.errors import UsageProblem
from banger_core.kernel import compression, lz4, vmlinux
from banger_core.kernel.vmlinux import extract_vmlinux, pvh_entry


def elf(entry=0x1000850):
    """A 64-bit ELF with one note segment: a foreign note, then Xen's PVH entry."""
    notes = struct.pack("<III", 4, 3, 1) + b"GNU\0" + b"abc\0"
    notes += struct.pack("<III", 4, 8, 18) + b"Xen\0" + struct.pack("<Q", entry)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    body = random.Random(7).randbytes(1 << 16) + bytes(1 << 20) + b"banger " * 9999
    return header + segment + notes + body


def bzimage(payload, *, sectors=4, protocol=0x20F):
    image = bytearray((sectors + 1) * 512)
    image[0x1F1] = sectors % 4 and sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    return bytes(image) + bytes(16) + payload + b"after"


def lz4_legacy(data):
    block = pytest.importorskip("lz4.block")
    packed = struct.pack("<I", lz4.MAGIC)
    for at in range(0, len(data), lz4.BLOCK_MAX):
        piece = block.compress(data[at : at + lz4.BLOCK_MAX], store_size=False)
        packed += struct.pack("<I", len(piece)) + piece
    return packed


def zstd(data):
    return pytest.importorskip("backports.zstd").compress(data)


PACKERS = {
    "gzip": gzip.compress,
    "xz": lambda data: lzma.compress(data, lzma.FORMAT_XZ, check=lzma.CHECK_CRC32),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "lz4": lz4_legacy,
    "zstd": zstd,
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("sectors", [4, 27])
def test_every_packing_gives_the_same_elf(packer, sectors):
    kernel = elf()
    # The kernel's build appends the unpacked size to what it packed
    payload = PACKERS[packer](kernel) + struct.pack("<I", len(kernel))
    assert api.extract_vmlinux(bzimage(payload, sectors=sectors)) == kernel


@pytest.mark.parametrize("packer", PACKERS)
def test_a_cut_off_payload_is_refused(packer):
    payload = PACKERS[packer](elf())[:-500]
    with pytest.raises(UsageProblem, match="damaged"):
        extract_vmlinux(bzimage(payload))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_is_refused_before_it_goes_off(packer, monkeypatch):
    monkeypatch.setattr(vmlinux, "VMLINUX_MAX", 1 << 20)
    with pytest.raises(UsageProblem, match="too big"):
        extract_vmlinux(bzimage(PACKERS[packer](elf())))


def test_an_elf_is_taken_as_it_is():
    assert extract_vmlinux(elf()) == elf()


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"#!/bin/sh\n" * 400,
        bzimage(b"no known magic"),
        bzimage(gzip.compress(b"not an ELF")),
        bzimage(gzip.compress(elf()), protocol=0x207),
        bzimage(gzip.compress(elf()))[:3000],
        bzimage(b""),
    ],
    ids=["empty", "script", "magic", "no-elf", "old", "short", "no-payload"],
)
def test_what_is_no_kernel_is_refused(image):
    with pytest.raises(UsageProblem):
        extract_vmlinux(image)


def test_the_pvh_entry_is_found_among_other_notes():
    assert pvh_entry(elf(0x1234000)) == 0x1234000


@pytest.mark.parametrize("kernel", [b"", b"\x7fELF", elf()[:100], b"\x7fELF\x01\x01" + bytes(99)])
def test_a_kernel_without_notes_has_no_pvh_entry(kernel):
    assert pvh_entry(kernel) is None


def test_the_own_lz4_decoder_agrees_with_the_library(monkeypatch):
    kernel = elf() * 9
    packed = lz4_legacy(kernel)
    monkeypatch.setitem(sys.modules, "lz4", None)
    assert lz4._block_unpacker() is lz4.unpack_block
    assert lz4.unpack_legacy(packed, 1 << 30) == kernel


@pytest.mark.parametrize("seed", range(40))
def test_the_own_lz4_decoder_survives_damage(seed):
    chance = random.Random(seed)
    packed = bytearray(lz4_legacy(elf()[-5000:] + chance.randbytes(500))[8:])
    for _ in range(3):
        packed[chance.randrange(len(packed))] = chance.randrange(256)
    with contextlib.suppress(lz4.Damaged):
        assert len(lz4.unpack_block(bytes(packed))) <= lz4.BLOCK_MAX


@pytest.mark.parametrize(
    "packed",
    [b"\x10", b"\xf0\xff\xff", b"\x0f\x00\x00\xff", b"\x1fA\x02\x00\x00", b"\x1fA\x01"],
    ids=["literal", "length", "zero-distance", "too-far", "no-distance"],
)
def test_blocks_that_point_nowhere_are_damaged(packed):
    with pytest.raises(lz4.Damaged):
        lz4.unpack_block(packed)


def test_zstd_without_a_library_says_what_to_install(monkeypatch):
    packed = bzimage(zstd(elf()))
    for name in ("backports", "compression"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageProblem) as caught:
        extract_vmlinux(packed)
    assert caught.value.hints == ("pip install backports.zstd",)


def test_formats_are_told_apart_by_their_first_bytes():
    with pytest.raises(UsageProblem, match="unknown format"):
        compression.decompress(b"\0" * 99, 1 << 20)
