from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import random
import struct
import sys
import zlib

import pytest

from banger_core import api
from banger_core.errors import HostNotReady, UsageProblem
from banger_core.kernel import compression, lz4, lzop, vmlinux
from banger_core.kernel.vmlinux import extract_vmlinux, pvh_entry
from banger_core.testing.kernel_images import make_bzimage


def elf(entry=0x1000850):
    """A 64-bit ELF with one note segment: a foreign note, then Xen's PVH entry."""
    notes = struct.pack("<III", 4, 3, 1) + b"GNU\0" + b"abc\0"
    notes += struct.pack("<III", 4, 8, 18) + b"Xen\0" + struct.pack("<Q", entry)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    body = random.Random(7).randbytes(1 << 16) + bytes(1 << 20) + b"banger " * 9999
    return header + segment + notes + body


def lz4_legacy(data):
    block = pytest.importorskip("lz4.block")
    packed = struct.pack("<I", lz4.MAGIC)
    for at in range(0, len(data), lz4.BLOCK_MAX):
        piece = block.compress(data[at : at + lz4.BLOCK_MAX], store_size=False)
        packed += struct.pack("<I", len(piece)) + piece
    return packed


def zstd(data):
    return pytest.importorskip("backports.zstd").compress(data)


def lzo(data, *, block=lzop.BLOCK_MAX, flags=0x1, version=0x1040, name=b""):
    """What lzop writes."""
    compress = pytest.importorskip("lzallright").LZOCompressor().compress
    head = struct.pack(">HHHBBI", version, 0x20A0, 0x0940, 3, 9, flags)
    if version < 0x0940:
        head = struct.pack(">HHBI", version, 0x20A0, 1, flags)
    head += bytes(12 if version >= 0x0940 else 8) + bytes([len(name)]) + name + bytes(4)
    packed = lzop.MAGIC + head
    for at in range(0, len(data), block):
        piece = data[at : at + block]
        small = min(compress(piece), piece, key=len)
        packed += struct.pack(">III", len(piece), len(small), zlib.adler32(piece)) + small
    return packed + bytes(4)


PACKERS = {
    "gzip": gzip.compress,
    "xz": lambda data: lzma.compress(data, lzma.FORMAT_XZ, check=lzma.CHECK_CRC32),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "lz4": lz4_legacy,
    "zstd": zstd,
    "lzo": lzo,
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("sectors", [4, 27])
def test_every_packing_gives_the_same_elf(packer, sectors):
    kernel = elf()
    # The kernel's build appends the unpacked size to what it packed
    payload = PACKERS[packer](kernel) + struct.pack("<I", len(kernel))
    assert api.extract_vmlinux(make_bzimage(payload, sectors=sectors)) == kernel


@pytest.mark.parametrize("packer", PACKERS)
def test_a_cut_off_payload_is_refused(packer):
    payload = PACKERS[packer](elf())[:-500]
    with pytest.raises(UsageProblem, match="damaged"):
        extract_vmlinux(make_bzimage(payload))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_is_refused_before_it_goes_off(packer, monkeypatch):
    monkeypatch.setattr(vmlinux, "VMLINUX_MAX", 1 << 20)
    with pytest.raises(UsageProblem, match="too big"):
        extract_vmlinux(make_bzimage(PACKERS[packer](elf())))


@pytest.mark.parametrize("packer", ["gzip", "xz", "bzip2", "zstd", "lz4"])
def test_streams_in_a_row_are_one(packer):
    kernel = elf()
    packed = PACKERS[packer](kernel[:99999]) + PACKERS[packer](kernel[99999:])
    if packer == "lz4":
        # A block that is no full one ends a frame of its own
        packed = lz4_legacy(kernel) + struct.pack("<I", lz4.MAGIC)
    size = struct.pack("<I", len(kernel))
    assert extract_vmlinux(make_bzimage(packed + size)) == kernel


def test_a_size_that_looks_like_a_stream_is_no_stream():
    kernel = elf()
    payload = gzip.compress(kernel) + b"\x1f\x8b\x08\x00"
    assert extract_vmlinux(make_bzimage(payload)) == kernel


@pytest.mark.parametrize("packer", PACKERS)
def test_an_image_packed_as_a_whole_is_unpacked(packer):
    kernel = elf()
    assert extract_vmlinux(PACKERS[packer](kernel)) == kernel
    image = make_bzimage(gzip.compress(kernel))
    assert extract_vmlinux(PACKERS[packer](image)) == kernel


def test_a_payload_that_is_not_packed_is_taken():
    assert extract_vmlinux(make_bzimage(elf())) == elf()


def test_an_image_for_arm64_is_called_one():
    image = bytearray(0x1000)
    image[0x38:0x3C] = b"ARM\x64"
    for packed in (bytes(image), gzip.compress(image)):
        with pytest.raises(UsageProblem) as caught:
            extract_vmlinux(packed)
        assert caught.value.cause == "it is an Image for arm64"


@pytest.mark.parametrize("version", [0x0900, 0x1040])
@pytest.mark.parametrize("block", [1000, lzop.BLOCK_MAX])
def test_files_of_lzop_old_and_new_are_read(version, block):
    data = elf()[:300000]
    assert lzop.unpack_lzop(lzo(data, version=version, block=block, name=b"x"), 1 << 20) == data


@pytest.mark.parametrize("seed", range(40))
def test_damaged_lzo_is_refused_or_found_unharmed(seed):
    chance = random.Random(seed)
    data = elf()[:9999]
    packed = bytearray(lzo(data, block=4000))
    packed[chance.randrange(38, len(packed) - 4)] ^= 1 << chance.randrange(8)
    with contextlib.suppress(lzop.Damaged):
        unpacked = lzop.unpack_lzop(bytes(packed), 1 << 20)
        assert unpacked is None or len(unpacked) <= 1 << 20


def test_a_block_that_does_not_match_its_checksum_is_damaged():
    packed = lzo(random.Random(1).randbytes(5000))
    with pytest.raises(lzop.Damaged, match="checksum"):
        lzop.unpack_lzop(packed[:-100] + bytes(96) + bytes(4), 1 << 20)


def test_lzo_without_its_library_says_what_to_install(monkeypatch):
    packed = make_bzimage(lzo(elf()))
    monkeypatch.setitem(sys.modules, "lzallright", None)
    with pytest.raises(HostNotReady) as caught:
        extract_vmlinux(packed)
    assert caught.value.hints == ("python -m pip install lzallright",)


def test_an_elf_is_taken_as_it_is():
    assert extract_vmlinux(elf()) == elf()


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"#!/bin/sh\n" * 400,
        make_bzimage(b"no known magic"),
        make_bzimage(gzip.compress(b"not an ELF")),
        make_bzimage(gzip.compress(elf()), protocol=0x207),
        make_bzimage(gzip.compress(elf()))[:3000],
        make_bzimage(b""),
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
    packed = make_bzimage(zstd(elf()))
    for name in ("backports", "compression"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(HostNotReady) as caught:
        extract_vmlinux(packed)
    assert caught.value.hints == ("python -m pip install backports.zstd",)


def test_formats_are_told_apart_by_their_first_bytes():
    with pytest.raises(UsageProblem, match="unknown format"):
        compression.decompress(b"\0" * 99, 1 << 20)
