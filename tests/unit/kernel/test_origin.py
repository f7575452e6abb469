"""Where kernels to be imported lie, and what of it is taken."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile

import pytest

from banger_core.errors import HostileInput, HostNotReady, IntegrityError, NotFound, UsageProblem
from banger_core.kernel import intake
from banger_core.kernel.collection import collect
from banger_core.kernel.names import check_kernel_name
from banger_core.kernel.origin import (
    Origin,
    in_boot,
    in_directory,
    modules_of,
    with_neighbours,
)
from banger_core.testing.kernel_images import (
    COMPLETE,
    RELEASE,
    configuration_text,
    make_bzimage,
    make_modules,
    make_vmlinux,
)

IMAGE = make_bzimage(gzip.compress(make_vmlinux()))


def quiet(what, done, total):
    pass


@pytest.fixture
def take(tmp_path):
    """Collect an origin; returns what came of it, as relative paths."""
    into = tmp_path / "into"
    into.mkdir()

    def take(origin):
        files = collect(origin, into, quiet)
        assert files.vmlinux.read_bytes() == make_vmlinux()
        assert {path.stat().st_mode & 0o77 for path in into.rglob("*")} == {0}
        return {str(path.relative_to(into)) for path in into.rglob("*") if path.is_file()}

    return take


@pytest.fixture
def host(tmp_path):
    """A host with an installed kernel."""
    root = tmp_path / "root"
    boot = root / "boot"
    boot.mkdir(parents=True)
    (boot / f"vmlinuz-{RELEASE}").write_bytes(IMAGE)
    (boot / f"initrd.img-{RELEASE}").write_bytes(b"initrd")
    (boot / f"config-{RELEASE}").write_text(configuration_text(COMPLETE))
    modules = make_modules(root / "usr/lib/modules" / RELEASE, "ext4")
    (modules / "build").symlink_to("/usr/src")
    (modules / "kernel" / "linked.ko").symlink_to("/etc/passwd")
    (modules / "vdso").mkdir()
    (modules / "vdso" / "vdso64.so").write_bytes(b"\x7fELF")
    (root / "lib").symlink_to("usr/lib")
    return root


WHOLE = {"vmlinux", "config", "modules/modules.builtin", "modules/kernel/drivers/ext4.ko"}


def test_an_installed_kernel_is_taken_whole_without_links(host, take):
    assert take(in_boot(RELEASE, host)) == WHOLE | {"initrd.img"}


@pytest.mark.parametrize("name", ["6.2", "..", "", "a/b", f"../boot/{RELEASE}", "\x1b"])
def test_a_kernel_that_is_not_installed_is_not_found(host, name):
    with pytest.raises(NotFound) as caught:
        in_boot(name, host)
    assert RELEASE in caught.value.cause


@pytest.mark.parametrize("unpacked", [False, True], ids=["flat", "as-a-package"])
def test_the_files_of_a_directory_are_found_by_their_names(tmp_path, take, host, unpacked):
    place = tmp_path / "kernel"
    if unpacked:
        place = host
    else:
        place.mkdir()
        (place / "bzImage").write_bytes(IMAGE)
        (place / "config").write_text(configuration_text(COMPLETE))
        make_modules(place / "modules", "ext4")
    found = in_directory(place)
    assert not found.follow
    assert take(found) - {"initrd.img"} == WHOLE


def test_single_files_may_be_links(tmp_path, take, host):
    (tmp_path / "vmlinuz").symlink_to(host / "boot" / f"vmlinuz-{RELEASE}")
    assert take(Origin(kernel=tmp_path / "vmlinuz")) == {"vmlinux"}


def test_the_configuration_beside_an_image_is_found(host, take):
    origin = with_neighbours(Origin(kernel=host / "boot" / f"vmlinuz-{RELEASE}"))
    assert take(origin) == {"vmlinux", "config"}
    assert with_neighbours(Origin(kernel=host / "boot/other-1")).config is None


def test_links_in_a_directory_are_refused(tmp_path, host, take):
    place = tmp_path / "kernel"
    place.mkdir()
    (place / "vmlinuz").symlink_to(host / "boot" / f"vmlinuz-{RELEASE}")
    with pytest.raises(UsageProblem) as caught:
        take(in_directory(place))
    assert caught.value.cause == "it is a symbolic link"


@pytest.mark.parametrize("names", [[], ["vmlinuz-1", "vmlinuz-2"], ["README"]])
def test_a_directory_must_have_one_kernel(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UsageProblem):
        in_directory(tmp_path)
    with pytest.raises(UsageProblem):
        in_directory(tmp_path / "none")


def test_modules_lie_in_the_directory_or_below_their_release(tmp_path):
    modules = make_modules(tmp_path / "all" / RELEASE, "ext4")
    make_modules(tmp_path / "all" / "other", "ext4")
    assert modules_of(modules, RELEASE) == modules
    assert modules_of(tmp_path / "all", RELEASE) == modules
    for directory in (tmp_path / "all", tmp_path / "none"):
        with pytest.raises(UsageProblem):
            modules_of(directory, "6.9")


def test_a_directory_without_modules_is_refused(tmp_path, take):
    (tmp_path / "vmlinux").write_bytes(make_vmlinux())
    (tmp_path / "m").mkdir()
    with pytest.raises(UsageProblem, match="no kernel modules"):
        take(Origin(kernel=tmp_path / "vmlinux", modules=tmp_path / "m"))


def test_what_is_no_file_is_refused_at_once(tmp_path, take):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "vmlinux").write_bytes(make_vmlinux())
    for name in ("pipe", "empty", "none", "vmlinux/x", "."):
        for origin in (
            Origin(kernel=tmp_path / name),
            Origin(packages=(tmp_path / name,)),
            Origin(kernel=tmp_path / "vmlinux", initrd=tmp_path / name),
        ):
            with pytest.raises(UsageProblem, match="cannot be taken"):
                take(origin)


def test_what_may_not_be_read_says_so(tmp_path, take, monkeypatch):
    def refused(path, flags):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(intake.os, "open", refused)
    with pytest.raises(HostNotReady) as caught:
        take(Origin(kernel=tmp_path / "vmlinuz"))
    assert caught.value.hints == (f"sudo chmod a+r {tmp_path / 'vmlinuz'}",)


def test_sizes_are_bounded(tmp_path, take, monkeypatch):
    make_modules(tmp_path / "m", "a", "b", "c")
    (tmp_path / "vmlinux").write_bytes(make_vmlinux())
    monkeypatch.setattr(intake, "MODULE_FILES_MAX", 3)
    with pytest.raises(HostileInput):
        take(Origin(kernel=tmp_path / "vmlinux", modules=tmp_path / "m"))
    with pytest.raises(UsageProblem, match="cannot be taken"):
        intake.read_file(tmp_path / "vmlinux", 100)


def package(path, files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for name, content in files:
            fact = tarfile.TarInfo(f"./{name}")
            fact.size = len(content)
            archive.addfile(fact, io.BytesIO(content))
    data = packed.getvalue()
    members = [("debian-binary", b"2.0\n"), ("control.tar.xz", b""), ("data.tar.xz", data)]
    ar = b"!<arch>\n"
    for name, content in members:
        ar += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        ar += content + b"\n" * (len(content) % 2)
    path.write_bytes(ar)
    return path


BOOT = [
    (f"boot/vmlinuz-{RELEASE}", IMAGE),
    (f"boot/config-{RELEASE}", configuration_text(COMPLETE).encode()),
]


def modules(release=RELEASE, prefix=""):
    place = f"{prefix}lib/modules/{release}"
    return [
        (f"{place}/modules.builtin", b""),
        (f"{place}/kernel/drivers/ext4.ko", b"\x7fELF"),
        (f"{place}/vdso/vdso64.so", b"\x7fELF"),
        ("usr/share/doc/a", b"text"),
    ]


@pytest.mark.parametrize("prefix", ["", "usr/"])
def test_one_package_is_a_kernel(tmp_path, take, prefix):
    deb = package(tmp_path / "a.deb", BOOT + modules(prefix=prefix))
    assert take(Origin(packages=(deb,))) == WHOLE


def test_several_packages_are_one_kernel(tmp_path, take):
    image = package(tmp_path / "image.deb", BOOT[:1])
    more = package(tmp_path / "modules.deb", BOOT[1:] + modules())
    assert take(Origin(packages=(image, more))) == WHOLE


def test_a_package_made_by_dpkg_is_read(tmp_path, take):
    tree = tmp_path / "tree"
    for name, content in BOOT + modules():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(
        "Package: a1\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: d\n"
    )
    command = ["dpkg-deb", "-Zzstd", "-b", tree, tmp_path / "a.deb"]
    subprocess.run(command, check=True, capture_output=True)
    assert take(Origin(packages=(tmp_path / "a.deb",))) == WHOLE


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ([], UsageProblem),
        (modules(), UsageProblem),
        (BOOT + modules("6.9"), UsageProblem),
        ([(f"boot/vmlinuz-{RELEASE}", IMAGE[:-50])], UsageProblem),
        ([*BOOT, (f"lib/modules/{RELEASE}/kernel/../../../x.ko", b"x")], HostileInput),
        ([*BOOT, (f"lib/modules/{RELEASE}//etc/x.ko", b"x")], HostileInput),
        ([*BOOT, *modules(), *modules()], HostileInput),
    ],
    ids=["empty", "no-image", "two-kernels", "truncated", "traversal", "absolute", "twice"],
)
def test_packages_that_are_no_kernel_are_refused(tmp_path, take, files, kind):
    with pytest.raises(kind) as caught:
        take(Origin(packages=(package(tmp_path / "a.deb", files),)))
    assert caught.value.cause
    assert caught.value.hints
    assert not list(tmp_path.rglob("x.ko"))


def test_a_cut_off_package_is_refused(tmp_path, take):
    deb = package(tmp_path / "a.deb", BOOT + modules())
    deb.write_bytes(deb.read_bytes()[:-100])
    with pytest.raises(IntegrityError):
        take(Origin(packages=(deb,)))


@pytest.mark.parametrize("name", ["a", "6.1-cloud", "A_b", "1", "x" * 128])
def test_names_of_kernels(name):
    assert check_kernel_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "a/b", "a b", "ä", "x" * 129, "a\n"])
def test_names_that_are_none(name):
    with pytest.raises(UsageProblem):
        check_kernel_name(name)
