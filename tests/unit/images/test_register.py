"""Images of the user's own files: registered in place, promoted, deleted; never written."""

from __future__ import annotations

import gzip
import os

import pytest

from banger_core.daemon.views import image_view
from banger_core.engine.image_register import Registration
from banger_core.errors import BangerError, Conflict, HostNotReady, NotFound, UsageProblem
from banger_core.model import VmRequest
from banger_core.testing.kernel_images import RELEASE, make_bzimage, make_modules, make_vmlinux

pytestmark = pytest.mark.usefixtures("untouched")


def register(bench, mine, **more):
    wanted = {"name": "own", "rootfs": mine / "root.ext4", "kernel": mine / "vmlinux", **more}
    if "kernel_ref" in more:
        del wanted["kernel"]
    return bench.run(lambda engine, op: engine.registrar.register(Registration(**wanted), op))


def create(bench, name="one", image="own", **more):
    async def work(engine, operation):
        record, _ = await engine.machines.create(
            VmRequest(image=image, name=name, **more), operation, start=False
        )
        return record

    return bench.run(work)


def delete(bench, name="own"):
    bench.run(lambda engine, op: engine.images.delete(name, op))


def view(bench, name="own"):
    async def look(engine, _):
        return image_view(engine, engine.images.find(name))

    return bench.run(look)


def test_it_stays_where_it_is(bench, mine):
    image = register(bench, mine)
    assert image.rootfs == mine / "root.ext4"
    assert image.kernel_files.vmlinux == mine / "vmlinux"
    assert image.kernel.version == RELEASE
    assert image.disk_size == 64 << 20
    assert not list(image.directory.rglob("rootfs.ext4"))
    shown = view(bench)
    assert shown["kind"] == "registered"
    assert shown["files"]["rootfs"] == str(mine / "root.ext4")
    assert shown["problem"] == ""


def test_a_machine_gets_a_clone_and_the_file_is_not_written(bench, mine):
    register(bench, mine)
    vm = create(bench)
    disk = bench.paths.vm_state(vm.id) / "root.raw"
    with disk.open("r+b") as file:
        file.write(b"x" * 4096)
    # The fixture compares the file with what it was


def test_what_a_machine_is_a_clone_of_outlives_the_file(bench, mine, tmp_path):
    copy = tmp_path / "other.ext4"
    copy.write_bytes((mine / "root.ext4").read_bytes())
    image = register(bench, mine, rootfs=copy)
    create(bench)
    (first,) = image.directory.glob("seeds/*.ext4")
    copy.write_bytes(copy.read_bytes())
    create(bench, name="two")
    # The fake driver's disks are whole copies: only the newest seed is of use
    (second,) = image.directory.glob("seeds/*.ext4")
    assert first != second


def test_a_packed_kernel_is_unpacked_and_kept(bench, mine, tmp_path):
    packed = tmp_path / "vmlinuz"
    packed.write_bytes(make_bzimage(gzip.compress(make_vmlinux())))
    image = register(bench, mine, kernel=packed)
    assert image.kernel_files.vmlinux.read_bytes() == make_vmlinux()
    assert view(bench)["files"]["kernel"] == str(packed)
    assert any("packed" in text for text in bench.notices)
    packed.unlink()
    assert view(bench)["problem"] == ""


def test_modules_are_found_below_their_release(bench, mine, tmp_path):
    tree = make_modules(tmp_path / "lib" / RELEASE, "btrfs")
    image = register(bench, mine, modules=tmp_path / "lib")
    assert image.kernel_files.modules == tree


def test_a_kernel_by_name_is_copied(bench, mine):
    image = register(bench, mine, kernel_ref="fake-kernel")
    assert image.kernel.name == "fake-kernel"
    assert image.kernel_files.vmlinux.is_relative_to(image.directory)
    bench.run(lambda engine, op: engine.kernels.remove("fake-kernel", op))
    create(bench)


def test_vanished_files_are_told_and_nothing_else_breaks(bench, mine, tmp_path):
    link = tmp_path / "link.ext4"
    os.link(mine / "root.ext4", link)
    register(bench, mine, rootfs=link)
    link.unlink()
    assert view(bench)["problem"] == f"{link} cannot be found"
    with pytest.raises(HostNotReady, match="not there any more") as refused:
        create(bench)
    assert str(link) in refused.value.cause
    with pytest.raises(HostNotReady):
        bench.run(lambda engine, op: engine.registrar.promote("own", op))
    delete(bench)
    assert bench.images() == {}


def test_deleting_it_leaves_the_files(bench, mine):
    image = register(bench, mine)
    delete(bench)
    assert not image.directory.exists()
    # The fixture compares


def test_promoting_copies_all_in(bench, mine, tmp_path):
    tree = make_modules(tmp_path / "lib" / RELEASE, "btrfs")
    before = register(bench, mine, modules=tree)
    create(bench)
    image = bench.run(lambda engine, op: engine.registrar.promote("own", op))
    assert image.host is None
    assert image.id == before.id
    assert image.rootfs.is_relative_to(image.directory)
    assert image.rootfs.read_bytes() == (mine / "root.ext4").read_bytes()
    assert image.rootfs.stat().st_blocks * 512 < image.rootfs.stat().st_size
    assert image.kernel_files.vmlinux.read_bytes() == (mine / "vmlinux").read_bytes()
    assert image.kernel_files.modules.is_relative_to(image.directory)
    assert view(bench)["kind"] == "managed"
    create(bench, name="two")
    again = bench.run(lambda engine, op: engine.registrar.promote("own", op))
    assert again == bench.images()["own"]


@pytest.mark.parametrize("packed", [True, False])
def test_an_interrupted_promotion_is_taken_back(bench, mine, tmp_path, monkeypatch, packed):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(make_bzimage(gzip.compress(make_vmlinux())) if packed else make_vmlinux())
    image = register(bench, mine, kernel=kernel)
    files = sorted(path.name for path in image.directory.rglob("*"))
    monkeypatch.setenv("BANGER_FAILPOINT", "promote.after_copy:error")
    with pytest.raises(BangerError, match="failpoint"):
        bench.run(lambda engine, op: engine.registrar.promote("own", op))
    monkeypatch.delenv("BANGER_FAILPOINT")
    assert sorted(path.name for path in image.directory.rglob("*")) == files
    assert bench.images()["own"] == image


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda path: path.write_bytes(b"QFI\xfb" + bytes(4096)), "it is a qcow2 image"),
        (lambda path: path.write_bytes(bytes(510) + b"\x55\xaa" + bytes(4096)), "with partitions"),
        (lambda path: path.write_bytes(b"hello"), "it is no ext4 file system"),
        (lambda path: path.write_bytes(b""), "it is no ext4 file system"),
        (lambda path: os.truncate(path, 50 << 20), "it is cut off"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "it is not a regular file"),
        (lambda path: (path.unlink(), path.mkdir()), "it is not a regular file"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_what_is_no_root_file_system_is_refused(bench, mine, tmp_path, spoil, cause):
    rootfs = tmp_path / "bad.ext4"
    rootfs.write_bytes((mine / "root.ext4").read_bytes())
    spoil(rootfs)
    with pytest.raises(UsageProblem) as refused:
        register(bench, mine, rootfs=rootfs)
    assert cause in refused.value.cause
    assert bench.images() == {}
    assert bench.leftovers() == []


def test_a_damaged_file_system_is_refused(bench, mine, tmp_path):
    rootfs = tmp_path / "bad.ext4"
    data = bytearray((mine / "root.ext4").read_bytes())
    data[4096 * 2 : 4096 * 40] = os.urandom(4096 * 38)
    rootfs.write_bytes(data)
    with pytest.raises(UsageProblem) as refused:
        register(bench, mine, rootfs=rootfs)
    assert refused.value.hints == (f"e2fsck -f {rootfs}",)


def test_one_that_was_not_unmounted_is_refused(bench, mine, tmp_path):
    rootfs = tmp_path / "dirty.ext4"
    data = bytearray((mine / "root.ext4").read_bytes())
    data[1024 + 0x60] |= 4
    rootfs.write_bytes(data)
    with pytest.raises(UsageProblem, match="cannot be a root file system") as refused:
        register(bench, mine, rootfs=rootfs)
    assert refused.value.cause == "it was not unmounted cleanly"


def test_a_kernel_that_cannot_boot_is_refused_and_nothing_is_left(bench, mine, tmp_path):
    kernel = tmp_path / "arm"
    kernel.write_bytes(make_vmlinux(machine=183))
    with pytest.raises(UsageProblem, match="arm64"):
        register(bench, mine, kernel=kernel)
    with pytest.raises(NotFound):
        register(bench, mine, kernel_ref="nobody")
    assert bench.leftovers() == []


def test_names_are_unique_and_checked(bench, mine):
    register(bench, mine)
    with pytest.raises(Conflict, match="named own already"):
        register(bench, mine)
    with pytest.raises(UsageProblem):
        register(bench, mine, name="a b")


def test_files_of_another_image_are_refused(bench, mine):
    image, _ = bench.run(lambda engine, op: engine.images.pull("fake://small", op))
    with pytest.raises(UsageProblem, match="banger's own"):
        register(bench, mine, rootfs=image.rootfs)
