"""What may be in a kernel's tarball."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from backports import zstd
from kernels_feeds import ELF, KERNEL, tarball

from banger_core.api import HostileInput, IntegrityError
from banger_kernels import unpack as unpacking
from banger_kernels.unpack import check_kernel, unpack


@pytest.fixture
def unpacked(tmp_path):
    """A function that unpacks a tarball's bytes, and returns where."""

    def unpacked(data, digest="", **options):
        path, into = tmp_path / "kernel.tar", tmp_path / "into"
        path.write_bytes(data)
        into.mkdir(mode=0o700)
        digest = digest or f"sha256:{hashlib.sha256(data).hexdigest()}"
        return unpack(path, digest, into, lambda _: None, **options)

    return unpacked


def special(kind, name="modules/x", **more):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type = kind
        for field, value in more.items():
            setattr(info, field, value)
        archive.addfile(info)
    return out.getvalue()


def sparse(size):
    """A file of ``size`` bytes in an archive of a few: GNU's sparse format 1.0."""
    table = f"1\n{size}\n0\n".encode().ljust(512, b"\0")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("GNUSparseFile.0/vmlinux")
        info.size = len(table)
        info.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "vmlinux",
            "GNU.sparse.realsize": str(size),
        }
        archive.addfile(info, io.BytesIO(table))
    return out.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "zst"])
def test_every_packing_is_unpacked(unpacked, mode):
    members = ("./vmlinux", ELF), ("./modules/", "/"), ("./modules/kernel/a.ko", b"module")
    data = tarball(*members, mode="w" if mode == "zst" else mode)
    files = unpacked(zstd.compress(data) if mode == "zst" else data)
    assert files.vmlinux.read_bytes() == ELF
    assert files.initrd is None
    assert (files.modules / "kernel/a.ko").read_bytes() == b"module"


def test_what_is_unpacked_is_private_and_links_to_the_build_are_dropped(unpacked):
    files = unpacked(KERNEL)
    assert not (files.modules / "build").is_symlink()
    for path in files.vmlinux.parent.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


HOSTILE = {
    "a stranger": tarball(("vmlinux", ELF), ("README", b"x")),
    "a directory around it": tarball(("linux/vmlinux", ELF)),
    "an absolute path": tarball(("/vmlinux", ELF)),
    "a way out": tarball(("../vmlinux", ELF)),
    "a way out of modules": tarball(("modules/../../x", b"x")),
    "a hidden file": tarball(("modules/.x", b"x")),
    "a strange name": tarball(("modules/a\nb", b"x")),
    "too deep": tarball(("modules" + "/a" * 30, b"x")),
    "a link for a kernel": tarball(("vmlinux", "/boot/vmlinux")),
    "a link for modules": tarball(("modules", "/lib/modules")),
    "a link among modules": tarball(("modules/x", "/etc")),
    "a link called build elsewhere": tarball(("modules/kernel/build", "/etc")),
    "a file through a link": tarball(("modules/build", "/tmp"), ("modules/build/x/", "x")),
    "a hard link": special(tarfile.LNKTYPE, linkname="/etc/shadow"),
    "a device": special(tarfile.BLKTYPE, devmajor=8),
    "a pipe": special(tarfile.FIFOTYPE),
    "a directory for a kernel": tarball(("vmlinux", "/")),
    "a file for modules": tarball(("modules", b"x")),
    "a member twice": tarball(("vmlinux", ELF), ("vmlinux", ELF)),
    "a file and a directory": tarball(("modules/a", b"x"), ("modules/a/b", b"x")),
    "a directory and a file": tarball(("modules/a/b", b"x"), ("modules/a", b"x")),
    "an empty kernel": tarball(("vmlinux", b"")),
    "an empty initrd": tarball(("vmlinux", ELF), ("initrd.img", b"")),
    "a sparse giant": sparse(1 << 50),
    "not an archive": b"<html>" * 200,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_tarball_is_refused(unpacked, data, tmp_path):
    with pytest.raises(HostileInput) as caught:
        unpacked(data)
    assert f"{caught.value.summary}{caught.value.cause}".isprintable()
    assert not any(path.is_symlink() for path in (tmp_path / "into").rglob("*"))


DAMAGED = {
    "empty": b"",
    "without a kernel": tarball(("initrd.img", b"x")),
    "cut packing": KERNEL[:-20],
    "cut archive": tarball(("vmlinux", ELF * 99), mode="w")[:2000],
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_tarball_is_refused(unpacked, data):
    with pytest.raises(IntegrityError):
        unpacked(data)


def test_another_content_is_refused_although_it_unpacks(unpacked):
    with pytest.raises(IntegrityError, match="promised"):
        unpacked(KERNEL, digest="sha256:" + "0" * 64)


@pytest.mark.parametrize("pack", [bytes, zstd.compress])
def test_a_bomb_goes_no_further_than_its_limit(unpacked, tmp_path, pack):
    data = pack(tarball(("vmlinux", ELF), ("modules/a", bytes(4 << 20)), mode="w"))
    with pytest.raises(HostileInput):
        unpacked(data, limit=1 << 20)
    assert sum(path.stat().st_size for path in (tmp_path / "into").rglob("*")) < 2 << 20


def test_members_are_counted(unpacked, monkeypatch):
    monkeypatch.setattr(unpacking, "MEMBERS_MAX", 10)
    with pytest.raises(HostileInput, match="too many members"):
        unpacked(tarball(*((f"modules/{number}/", "/") for number in range(11))))


@pytest.mark.parametrize(
    ("content", "architecture"),
    [
        (b"MZ" + bytes(64), "amd64"),
        (ELF, "arm64"),
        (ELF[:10], "amd64"),
        (b"\x7fELF\x01" + ELF[5:], "amd64"),
    ],
)
def test_a_kernel_is_an_elf_file_for_its_architecture(tmp_path, content, architecture):
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(ELF)
    check_kernel(kernel, "amd64")
    kernel.write_bytes(content)
    with pytest.raises(IntegrityError):
        check_kernel(kernel, architecture)
