"""Archives that no honest program writes: a typed error each, and bounded memory."""

from __future__ import annotations

import io
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banger_core.errors import BangerError, HostileInput, IntegrityError
from banger_core.rootfs.tar import read_tar

END = bytes(1024)


def header(name=b"f", size=b"0", flag=b"0", *, checksum=None, **fields):
    block = bytearray(512)
    values = {
        0: name, 100: b"0000644", 108: b"0", 116: b"0", 124: size, 136: b"0", 156: flag,
        257: b"ustar\x0000",
    }  # fmt: skip
    values |= {int(offset[1:]): value for offset, value in fields.items()}
    for offset, value in values.items():
        block[offset : offset + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = (checksum if checksum is not None else b"%06o\0 " % sum(block)).ljust(8)
    return bytes(block)


def extended(data, flag=b"x"):
    return header(flag=flag, size=b"%o" % len(data)) + data + bytes(-len(data) % 512)


def record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def base256(value, width):
    return (value % (1 << 8 * width)).to_bytes(width, "big")


def read(data):
    return [(entry, b"".join(map(bytes, entry.data or ()))) for entry in read_tar(io.BytesIO(data))]


HOSTILE = {
    "wrong checksum": header(checksum=b"000001"),
    "no checksum": header(checksum=b""),
    "size is no number": header(size=b"9x"),
    "size has a sign": header(size=b"-1"),
    "size has underscores": header(size=b"1_0"),
    "size below zero": header(size=base256(-1, 12)),
    "size beyond any file": header(size=b"\x80" + b"\xff" * 11),
    "mode is no number": header(o100=b"rwxrwxrw"),
    "unknown type": header(flag=b"V"),
    "multi-volume": header(flag=b"M"),
    "a type of a vendor": header(flag=b"A"),
    "long name of a gigabyte": header(flag=b"L", size=b"%o" % (1 << 30)),
    "pax header of a gigabyte": header(flag=b"x", size=b"%o" % (1 << 30)),
    "pax header of negative size": header(flag=b"x", size=base256(-512, 12)),
    "pax record without length": extended(b"path=x\n"),
    "pax record too long": extended(b"99 path=x\n"),
    "pax record too short": extended(b"3 path=x\n"),
    "pax record of length zero": extended(b"0 path=x\n"),
    "pax record without newline": extended(b"9 path=xy"),
    "pax record without equals": extended(b"8 pathx\n"),
    "pax record without key": extended(b"6 =xy\n"),
    "pax length of many digits": extended(b"9" * 400 + b" path=x\n"),
    "pax size is no number": extended(record(b"size", b"0x10")) + header(),
    "pax size below zero": extended(record(b"size", b"-1")) + header(),
    "pax size of many digits": extended(record(b"size", b"9" * 5000)) + header(),
    "pax size beyond any file": extended(record(b"size", b"9" * 19)) + header(),
    "pax uid is no number": extended(record(b"uid", b"root")) + header(),
    "pax time is no number": extended(record(b"mtime", b"1e9")) + header(),
    "pax time of many digits": extended(record(b"mtime", b"9" * 5000)) + header(),
    "NUL in a name": extended(record(b"path", b"a\0b")) + header(),
    "NUL in a link": extended(record(b"linkpath", b"a\0b")) + header(flag=b"2"),
    "data after one zero block": bytes(512) + header(),
    "sparse without size": extended(record(b"GNU.sparse.map", b"0,1")) + header(),
    "sparse map odd": extended(
        record(b"GNU.sparse.map", b"0,1,2") + record(b"GNU.sparse.size", b"9")
    )
    + header(size=b"1"),
    "sparse parts overlap": extended(
        record(b"GNU.sparse.map", b"0,10,5,10") + record(b"GNU.sparse.size", b"100")
    )
    + header(size=b"24")
    + bytes(512),
    "sparse part beyond the end": extended(
        record(b"GNU.sparse.map", b"95,10") + record(b"GNU.sparse.size", b"100")
    )
    + header(size=b"12")
    + bytes(512),
    "sparse data beyond what is stored": extended(
        record(b"GNU.sparse.map", b"0,90") + record(b"GNU.sparse.size", b"100")
    )
    + header(size=b"1")
    + bytes(512),
    "sparse size beyond any file": extended(
        record(b"GNU.sparse.map", b"0,0") + record(b"GNU.sparse.size", b"9" * 19)
    )
    + header(),
    "sparse 1.0 with too many parts": extended(
        record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.realsize", b"9")
    )
    + header(size=b"1000")
    + b"99999999\n".ljust(512, b"\0"),
    "sparse 1.0 whose map does not end": extended(
        record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.realsize", b"9")
    )
    + header(size=b"2000")
    + b"1" * 1024,
    "old sparse with a negative part": header(
        flag=b"S", size=b"0", o386=b"00000000012", o398=b"\xff" * 12,
        o483=b"00000000100",
    ),
    "endless old sparse map": header(flag=b"S", o482=b"\1", o386=b"0" * 96)
    + (b"0" * 504 + b"\1" + bytes(7)) * 7000,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_malformed_archives_are_refused(name):
    with pytest.raises(HostileInput) as caught:
        read(HOSTILE[name] + END)
    assert "\n" not in caught.value.summary + caught.value.cause


def test_global_headers_cannot_pile_up():
    piles = b"".join(
        extended(record(b"k%d" % number, bytes(500_000).replace(b"\0", b"x")), b"g")
        for number in range(5)
    )
    with pytest.raises(HostileInput, match="global"):
        read(piles + END)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header()[:300],
        header(size=b"1000") + bytes(300),
        header(size=b"1000") + bytes(511),
        header(flag=b"x", size=b"100") + b"12 path=",
        header(flag=b"S", o482=b"\1", o386=b"0" * 96),
        extended(record(b"path", b"x")) + END,
        extended(b"name\0", b"L") + END,
    ],
)
def test_truncated_archives_are_told_apart(data):
    with pytest.raises(IntegrityError):
        read(data)


def test_signed_checksums_of_old_writers_are_taken():
    plain = header(name=b"\xff\xfe")
    signed = sum(byte - 256 * (byte > 127) for byte in plain[:148] + plain[156:]) + 8 * 32
    [(entry, _)] = read(header(name=b"\xff\xfe", checksum=b"%06o\0 " % signed) + END)
    assert entry.path == b"\xff\xfe"


def test_links_and_devices_store_nothing_whatever_they_announce():
    found = read(header(name=b"l", flag=b"2", size=b"1000", o157=b"t") + header(name=b"f") + END)
    assert [(entry.path, entry.size) for entry, _ in found] == [(b"l", 0), (b"f", 0)]


def test_a_slash_makes_a_directory_in_the_oldest_dialect():
    [(entry, _)] = read(
        header(name=b"d/", flag=b"\0", size=b"5") + b"xxxxx".ljust(512, b"\0") + END
    )
    assert (entry.kind, entry.data, entry.size) == ("directory", None, 0)


def test_memory_stays_bounded_however_long_the_archive():
    def chunks():
        for number in range(3000):
            yield header(name=b"%d" % number, size=b"%o" % 100_000)
            yield bytes(100_000 + -100_000 % 512)
        yield END

    tracemalloc.start()
    try:
        assert sum(1 for _ in read_tar(chunks())) == 3000
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


SEEDS = [
    header(size=b"10") + b"0123456789".ljust(512, b"\0") + END,
    extended(record(b"path", b"x") + record(b"SCHILY.xattr.user.a", b"v")) + header() + END,
    extended(record(b"GNU.sparse.map", b"0,5,50,5") + record(b"GNU.sparse.size", b"100"))
    + header(size=b"12")
    + bytes(512)
    + END,
    header(flag=b"S", size=b"5", o386=b"0" * 12, o398=b"00000000005\0", o483=b"00000000100")
    + bytes(512)
    + END,
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32))
def test_damage_ends_in_a_typed_error_or_none(seed, number):
    chance = random.Random(number)
    data = bytearray(seed)
    for _ in range(chance.randrange(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.5:
        # With a good checksum the damage reaches the fields behind it
        for at in range(0, len(data) - 512, 512):
            if data[at + 257 : at + 262] == b"ustar":
                data[at + 148 : at + 156] = b" " * 8
                data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    try:
        for entry in read_tar(io.BytesIO(bytes(data))):
            total = 0
            for piece in entry.data or ():
                total += piece if isinstance(piece, int) else len(piece)
            assert total == entry.size
    except BangerError:
        pass
