"""Decompression, verification and reading ahead."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import lzma
import random
import threading
import tracemalloc
import zlib

import pytest

from banger_core.errors import HostileInput, HostNotReady, IntegrityError
from banger_core.rootfs import decompress, stream

PLAIN = random.Random(1).randbytes(300_000) + bytes(1_000_000) + b"end"


def zstd_libraries():
    names = ("compression.zstd", "backports.zstd", "zstandard")
    found = []
    for name in names:
        try:
            if importlib.util.find_spec(name):
                found.append(name)
        except ModuleNotFoundError:
            continue
    return found


def zstd(data):
    names = zstd_libraries()
    if not names:
        pytest.skip("no zstd library is installed; banger says so when it meets such a layer")
    module = importlib.import_module(names[0])
    return module.compress(data)


PACKERS = {"gzip": gzip.compress, "xz": lzma.compress, "zstd": zstd, "plain": bytes}
packers = pytest.mark.parametrize("packer", PACKERS)
compressors = pytest.mark.parametrize("packer", ["gzip", "xz", "zstd"])


def pieces(data, step):
    return [data[at : at + step] for at in range(0, len(data), step)]


def unpack(data, step=1000, **more):
    return b"".join(stream.decompressed(pieces(data, step), **more))


@packers
@pytest.mark.parametrize("step", [1, 7, 100_000, 10_000_000])
def test_every_format_comes_out_whole_in_any_pieces(packer, step):
    data = PLAIN if step > 10 else PLAIN[299_900:310_000]
    assert unpack(PACKERS[packer](data), step) == data


@compressors
@pytest.mark.parametrize("step", [1, 50, 10_000])
def test_members_in_a_row_are_one_stream_and_zeros_may_follow(packer, step):
    pack = PACKERS[packer]
    data = pack(b"one" * 10) + pack(b"") + pack(b"two" * 10)
    assert unpack(data, step) == b"one" * 10 + b"two" * 10
    assert unpack(data + bytes(10_240), step) == b"one" * 10 + b"two" * 10


@compressors
@pytest.mark.parametrize("tail", [b"x", b"\0\0garbage", b"\x1f\x8b", b"PK\3\4 and more of it"])
def test_anything_else_that_follows_is_refused(packer, tail):
    with pytest.raises(IntegrityError):
        unpack(PACKERS[packer](b"data" * 100) + tail)


@compressors
def test_truncation_is_noticed_wherever_it_happens(packer):
    data = PACKERS[packer](PLAIN[:2000])
    for cut in (*range(6, len(data), max(1, len(data) // 60)), len(data) - 1):
        with pytest.raises(IntegrityError):
            unpack(data[:cut])


@compressors
def test_damage_is_noticed(packer):
    data = bytearray(PACKERS[packer](PLAIN[:5000]))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xa5" * 40
    digest = "sha256:" + hashlib.sha256(PLAIN[:5000]).hexdigest()
    with pytest.raises(IntegrityError):
        b"".join(stream.verified(stream.decompressed([bytes(data)]), digest, "layer"))


@compressors
def test_bombs_stop_at_the_limit_with_little_memory(packer):
    data = PACKERS[packer](bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(HostileInput, match="absurd"):
            for _ in stream.decompressed([data], limit=32 << 20):
                pass
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_an_empty_stream_is_an_empty_plain_one():
    assert unpack(b"") == b""
    assert unpack(b"\x1f") == b"\x1f"


@pytest.mark.parametrize("library", ["backports.zstd", "zstandard"])
def test_each_zstd_library_will_do(monkeypatch, library):
    if library not in zstd_libraries():
        pytest.skip(f"{library} is not installed")
    first = decompress._first_module
    only = lambda *names: first(*(name for name in names if name == library))  # noqa: E731
    data = zstd(PLAIN) + b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstd(b"more")
    monkeypatch.setattr(decompress, "_first_module", only)
    assert unpack(data) == PLAIN + b"more"
    with pytest.raises(IntegrityError):
        unpack(zstd(PLAIN)[:-3])


def test_without_a_zstd_library_the_command_to_get_one_is_named(monkeypatch):
    monkeypatch.setattr(decompress, "_first_module", lambda *_: None)
    with pytest.raises(HostNotReady) as caught:
        unpack(b"\x28\xb5\x2f\xfd rest")
    assert "pip install" in caught.value.hints[0]


def test_gzip_needs_nothing_but_the_standard_library(monkeypatch):
    monkeypatch.setattr(decompress, "_first_module", lambda *_: None)
    assert unpack(gzip.compress(PLAIN)) == PLAIN
    with pytest.raises(IntegrityError):
        unpack(gzip.compress(PLAIN)[:-4] + bytes(4))


def test_digests_of_packed_and_unpacked_bytes_are_compared(tmp_path):
    packed = gzip.compress(PLAIN)
    blob = tmp_path / "blob"
    blob.write_bytes(packed)
    good = {
        "digest": "sha256:" + hashlib.sha256(packed).hexdigest(),
        "diff_id": "sha256:" + hashlib.sha256(PLAIN).hexdigest(),
    }
    assert b"".join(stream.open_layer(blob, **good)) == PLAIN
    assert b"".join(stream.open_layer(blob)) == PLAIN
    for key in good:
        with pytest.raises(IntegrityError, match="promised"):
            b"".join(stream.open_layer(blob, **{**good, key: "sha256:" + "0" * 64}))


def test_reading_ahead_keeps_order_and_brings_errors_after_what_came_before():
    def source():
        yield from (b"%d" % number for number in range(100))
        raise IntegrityError("at the end")

    taken = []
    with pytest.raises(IntegrityError, match="at the end"):
        taken.extend(stream.read_ahead(source(), depth=3))
    ahead = stream.read_ahead(source(), depth=3)
    assert [next(ahead) for _ in range(100)] == [b"%d" % number for number in range(100)]
    with pytest.raises(IntegrityError):
        next(ahead)


def test_closing_ends_the_thread_even_when_it_waits_for_room():
    before = set(threading.enumerate())
    produced = []

    def source():
        while True:
            produced.append(1)
            yield b"more"

    ahead = stream.read_ahead(source(), depth=2)
    assert next(ahead) == b"more"
    ahead.close()
    assert set(threading.enumerate()) <= before
    assert len(produced) < 10


def test_raw_deflate_is_no_format_of_layers():
    data = zlib.compress(b"x" * 1000)
    assert unpack(data) == data
