from __future__ import annotations

import gzip
import io
import subprocess
import tarfile

import pytest

from banger_core.errors import HostileInput, IntegrityError
from banger_core.kernel.deb import open_deb, read_content
from banger_core.model import EntryKind


def ar(*members):
    packed = b"!<arch>\n"
    for name, content in members:
        packed += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        packed += content + b"\n" * (len(content) % 2)
    return packed


def tar(*names):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return packed.getvalue()


@pytest.fixture
def deb(tmp_path):
    def deb(content):
        path = tmp_path / "a.deb"
        path.write_bytes(content)
        return path

    return deb


def names(path):
    with open_deb(path) as entries:
        return [entry.path for entry in entries]


@pytest.mark.parametrize("compress", ["xz", "gzip", "zstd", "none"])
def test_what_dpkg_packs_is_read_back(compress, tmp_path):
    place = tmp_path / "tree"
    (place / "DEBIAN").mkdir(parents=True)
    (place / "DEBIAN" / "control").write_text(
        "Package: a1\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: d\n"
    )
    (place / "usr" / "lib").mkdir(parents=True)
    (place / "usr" / "lib" / "data").write_bytes(b"data" * 9999)
    (place / "usr" / "lib" / "link").symlink_to("data")
    command = ["dpkg-deb", f"-Z{compress}", "-b", place, tmp_path / "a.deb"]
    subprocess.run(command, check=True, capture_output=True)
    with open_deb(tmp_path / "a.deb") as entries:
        found = {}
        for entry in entries:
            data = entry.kind is EntryKind.FILE and read_content(entry, 1 << 20)
            found[entry.path] = (entry.kind, entry.link or data)
    assert found[b"usr/lib/data"] == (EntryKind.FILE, b"data" * 9999)
    assert found[b"usr/lib/link"] == (EntryKind.SYMLINK, b"data")


def test_members_before_the_data_are_skipped(deb):
    data = ("data.tar.gz/", gzip.compress(tar("./a")))
    content = ar(("debian-binary", b"2.0\n"), ("odd", b"123"), ("control.tar", b"x"), data)
    assert names(deb(content)) == [b"a"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\3\4",
        b"!<arch>\n",
        b"!<arch>\n" + b"x" * 60,
        ar(("debian-binary", b"2.0\n")),
        ar(("data.tar.gz", b"not gzip")),
        ar(("data.tar.xz", b"not xz")),
        ar(("data.tar.zst", b"not zst")),
        ar(("data.tar.gz", gzip.compress(tar("a"))))[:-40],
        ar(("data.tar", tar("a")))[:600],
    ],
    ids=["empty", "zip", "no-members", "header", "no-data", "gz", "xz", "zst", "cut-gz", "cut"],
)
def test_damaged_packages_are_refused(content, deb):
    with pytest.raises(IntegrityError):
        names(deb(content))


def test_an_unknown_packing_is_refused(deb):
    with pytest.raises(HostileInput):
        names(deb(ar(("data.tar.rar", b"x"))))


def test_contents_are_bounded(deb):
    path = deb(ar(("data.tar", tar("a"))))
    with open_deb(path) as entries:
        entry = next(iter(entries))
        entry.size = 11
        with pytest.raises(HostileInput):
            read_content(entry, 10)
