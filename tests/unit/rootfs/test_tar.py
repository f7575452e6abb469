"""Archives as the standard library and GNU tar write them."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banger_core.errors import HostileInput, IntegrityError
from banger_core.model import EntryKind
from banger_core.rootfs.tar import read_tar

K = EntryKind
LONG = "d" * 120 + "/" + "f" * 250


def collect(data, **more):
    """Entries with their content expanded, holes as zeros."""
    found = []
    for entry in read_tar(io.BytesIO(data), **more):
        pieces = entry.data if entry.data is not None else ()
        content = b"".join(map(bytes, pieces))
        found.append((entry, content))
    return found


@pytest.mark.parametrize("dialect", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_kind_in_every_dialect(tar_of, dialect):
    data = tar_of(
        ("d/", {"type": tarfile.DIRTYPE, "mode": 0o1777, "mtime": 12}, b""),
        ("d/f", {"mode": 0o4711, "uid": 12, "gid": 34, "mtime": 7}, b"x" * 1000),
        ("s", {"type": tarfile.SYMTYPE, "linkname": "d/f"}, b""),
        ("h", {"type": tarfile.LNKTYPE, "linkname": "d/f"}, b""),
        ("c", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b""),
        ("b", {"type": tarfile.BLKTYPE, "devmajor": 259, "devminor": 70000}, b""),
        ("p", {"type": tarfile.FIFOTYPE}, b""),
        ("dir/" * 30 + "n", {}, b"prefix"),
        ("last", {}, b""),
        dialect=dialect,
    )
    found = {entry.path: (entry, content) for entry, content in collect(data)}
    kinds = {path: entry.kind for path, (entry, _) in found.items()}
    assert kinds == {
        b"d" if b"d" in kinds else b"d/": K.DIRECTORY,
        b"d/f": K.FILE, b"s": K.SYMLINK, b"h": K.HARDLINK, b"c": K.CHAR, b"b": K.BLOCK,
        b"p": K.FIFO, b"dir/" * 30 + b"n": K.FILE, b"last": K.FILE,
    }  # fmt: skip
    entry, content = found[b"d/f"]
    assert (entry.mode, entry.uid, entry.gid, entry.mtime_ns) == (0o4711, 12, 34, 7 * 10**9)
    assert (entry.size, content) == (1000, b"x" * 1000)
    assert found[b"s"][0].link == found[b"h"][0].link == b"d/f"
    assert found[b"b"][0].rdev == (259, 70000)
    assert found[b"dir/" * 30 + b"n"][1] == b"prefix"


@pytest.mark.parametrize("dialect", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_large_owners_and_early_times(tar_of, dialect):
    fields = {"uid": 4_000_000_000, "gid": 3_000_000, "mtime": -5}
    link = {"type": tarfile.SYMTYPE, "linkname": "t" * 3000}
    data = tar_of((LONG, fields, b"hi"), ("l", link, b""), ("after", {}, b""), dialect=dialect)
    (first, content), (second, _), (third, _) = collect(data)
    assert (first.path, first.uid, first.gid) == (LONG.encode(), 4_000_000_000, 3_000_000)
    assert (first.mtime_ns, content) == (-5 * 10**9, b"hi")
    assert second.link == b"t" * 3000
    assert (third.path, third.uid, third.link) == (b"after", 0, b"")


def test_pax_times_attributes_and_odd_names(tar_of):
    records = {"SCHILY.xattr.user.a": "1\n2=3", "mtime": "1234567890.123456789", "path": "x/é"}
    records["SCHILY.xattr.user.empty"] = ""
    data = tar_of(("x/n\udcff", {"pax_headers": records}, b""), ("next", {}, b""))
    (first, _), (second, _) = collect(data)
    assert first.mtime_ns == 1234567890123456789
    assert first.xattrs == {b"user.a": b"1\n2=3", b"user.empty": b""}
    assert not second.xattrs


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("-1.5", -1_500_000_000), ("0.000000001999", 1), ("7.", 7 * 10**9), ("-0.25", -250_000_000)],
)
def test_pax_times(tar_of, text, nanoseconds):
    [(entry, _)] = collect(tar_of(("f", {"pax_headers": {"mtime": text}}, b"")))
    assert entry.mtime_ns == nanoseconds


def test_names_that_are_not_utf8_come_through(tar_of):
    data = tar_of(("n\udcff\udc80", {}, b"x"), dialect=tarfile.GNU_FORMAT)
    assert [entry.path for entry, _ in collect(data)] == [b"n\xff\x80"]


def test_global_headers_hold_until_the_end(tar_of):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", pax_headers={"uid": "77"}) as archive:
        archive.addfile(tarfile.TarInfo("one"))
        archive.addfile(tarfile.TarInfo("two"))
    assert [entry.uid for entry, _ in collect(out.getvalue())] == [77, 77]


@pytest.mark.parametrize(
    "flags",
    [
        ["--format=gnu", "--sparse"],
        ["--format=pax", "--sparse", "--sparse-version=0.0"],
        ["--format=pax", "--sparse", "--sparse-version=0.1"],
        ["--format=pax", "--sparse", "--sparse-version=1.0"],
    ],
)
@pytest.mark.parametrize("parts", [0, 1, 3, 40])
def test_sparse_files_of_gnu_tar(tmp_path, flags, parts):
    tar = shutil.which("tar")
    assert tar, "GNU tar is needed"
    path = tmp_path / "sparse"
    chance = random.Random(parts)
    with path.open("wb") as file:
        file.truncate(40 << 20)
        for number in range(parts):
            file.seek(number << 20)
            file.write(chance.randbytes(5000))
    (tmp_path / "after").write_bytes(b"after")
    data = subprocess.run(
        [tar, *flags, "-C", str(tmp_path), "-cf", "-", "sparse", "after"],
        check=True,
        capture_output=True,
    ).stdout
    assert len(data) < 2 << 20
    entries = []
    for entry in read_tar(io.BytesIO(data)):
        pieces = [piece if isinstance(piece, int) else bytes(piece) for piece in entry.data]
        entries.append((entry.path, entry.size, pieces))
    (name, size, pieces), (other, _, content) = entries
    assert (name, size, other, content) == (b"sparse", 40 << 20, b"after", [b"after"])
    assert sum(p if isinstance(p, int) else 0 for p in pieces) >= (40 << 20) - parts * 12288
    assert b"".join(bytes(p) for p in pieces) == path.read_bytes()


def test_xattrs_and_names_of_gnu_tar(tmp_path):
    tar = shutil.which("tar")
    assert tar, "GNU tar is needed"
    place = os.fsencode(tmp_path) + b"/n\xff\n"
    with open(place, "wb") as file:  # noqa: PTH123 - a name in bytes
        file.write(b"x")
    try:
        os.setxattr(place, b"user.note", b"\0\xffvalue")
    except OSError:
        pytest.skip("the file system of the temporary directory has no user attributes")
    data = subprocess.run(
        [tar, "--xattrs", "--format=pax", "-C", str(tmp_path), "-cf", "-", "."],
        check=True,
        capture_output=True,
    ).stdout
    found = {entry.path: entry for entry, _ in collect(data)}
    assert found[b"./n\xff\n"].xattrs == {b"user.note": b"\0\xffvalue"}
    assert found[b"./n\xff\n"].mtime_ns == os.stat(place).st_mtime_ns  # noqa: PTH116


def test_whiteouts_are_told_only_when_asked_for(tar_of):
    data = tar_of(
        ("d/.wh.gone", {}, b""),
        ("d/.wh..wh..opq", {}, b""),
        (".wh.top", {}, b""),
        (".wh..wh.plnk/1.2", {}, b"x"),
        ("plain", {}, b"y"),
    )
    assert [entry.kind for entry, _ in collect(data)] == [K.FILE] * 5
    found = [(entry.kind, entry.path) for entry, _ in collect(data, whiteouts=True)]
    assert found == [
        (K.WHITEOUT, b"d/gone"),
        (K.OPAQUE, b"d"),
        (K.WHITEOUT, b"/top"),
        (K.FILE, b"plain"),
    ]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..."])
def test_whiteouts_of_nothing_are_refused(tar_of, name):
    with pytest.raises(HostileInput):
        collect(tar_of((name, {}, b"")), whiteouts=True)


def test_data_that_nobody_reads_is_skipped(tar_of):
    data = tar_of(("a", {}, b"A" * 100_000), ("b", {}, b"B" * 700), ("c", {}, b"C"))
    names = []
    for entry in read_tar(iter([data[at : at + 1000] for at in range(0, len(data), 1000)])):
        names.append(entry.path)
        if entry.path == b"a":
            next(entry.data)
        if entry.path == b"b":
            entry.data.close()
    assert names == [b"a", b"b", b"c"]


def test_the_stream_is_read_to_its_very_end(tar_of):
    source = io.BytesIO(tar_of(("a", {}, b"x")) + bytes(1 << 20))
    assert len(list(read_tar(source))) == 1
    assert source.read() == b""


def test_a_lone_zero_block_may_end_an_archive(tar_of):
    data = tar_of(("a", {}, b"x"))[:1024]
    assert len(collect(data + bytes(512))) == 1
    assert len(collect(data, end_marker=False)) == 1
    with pytest.raises(IntegrityError, match="truncated"):
        collect(data)


member = st.tuples(
    st.text("abc/é", min_size=1, max_size=150).filter(lambda n: n.strip("/")),
    st.fixed_dictionaries(
        {"mode": st.integers(0, 0o7777), "uid": st.integers(0, 2**32 - 2), "mtime": st.integers(0)}
    ),
    st.binary(max_size=3000),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(member, max_size=5),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.integers(1, 3000),
)
def test_what_the_standard_library_writes_is_read_in_any_chunks(members, dialect, step):
    out = io.BytesIO()
    members = [(n.rstrip("/"), {**f, "mtime": f["mtime"] % 2**40}, c) for n, f, c in members]
    with tarfile.open(fileobj=out, mode="w", format=dialect) as archive:
        for name, fields, content in members:
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.mtime = fields["mode"], fields["uid"], fields["mtime"]
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    data = out.getvalue()
    chunks = (data[at : at + step] for at in range(0, len(data), step))
    found = [
        (e.path, e.mode, e.uid, e.mtime_ns, b"".join(map(bytes, e.data))) for e in read_tar(chunks)
    ]
    assert found == [
        (name.encode(), f["mode"], f["uid"], f["mtime"] * 10**9, content)
        for name, f, content in members
    ]
