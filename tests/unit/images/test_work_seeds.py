"""Work disks of images that were not made of layers begin with what those have in /root, too."""

from __future__ import annotations

import asyncio

import pytest

from banger_core.engine.image_export import export_image
from banger_core.engine.image_register import Registration
from banger_core.errors import UsageProblem
from banger_core.model import VmRequest
from banger_core.rootfs.disks import data_ranges
from banger_core.rootfs.ext4.reader import DirectoryReader
from banger_core.testing.rootfs_images import make_ext4

MIB = 1 << 20


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "content"
    (tree / "root").mkdir(parents=True)
    (tree / "root" / ".profile").write_text("hello")
    return tree


@pytest.fixture
def register(bench, mine, tree):
    """Registers an image of ``tree`` as it is now."""

    def make(*options, name="own", size="64M"):
        rootfs = mine / f"{name}.ext4"
        rootfs.unlink(missing_ok=True)
        make_ext4(rootfs, size, *options, content=tree)
        wanted = Registration(name=name, rootfs=rootfs, kernel=mine / "vmlinux")
        return bench.run(lambda engine, op: engine.registrar.register(wanted, op))

    return make


def create(bench, *names, image="own", work_disk=128 * MIB):
    """Create VMs at once; returns their work disks."""

    async def work(engine, operation):
        made = [
            engine.machines.create(
                VmRequest(image=image, name=name, work_disk=work_disk), operation, start=False
            )
            for name in names
        ]
        return [vm for vm, _ in await asyncio.gather(*made)]

    return [bench.paths.vm_state(vm.id) / "work.raw" for vm in bench.run(work)]


def names(disk):
    """What is in /root of a work disk, None when there is no /root."""
    with disk.open("rb") as file:
        home = DirectoryReader(file.fileno()).read(b"root")
    return None if home is None else {*home.children}


def test_a_registered_image_has_a_seed_in_bangers_own_directory(bench, register):
    image = register()
    disks = create(bench, "one", "two", "three")
    assert [names(disk) for disk in disks] == [{b".profile"}] * 3
    assert {disk.stat().st_size for disk in disks} == {128 * MIB}
    assert not image.work_seed.exists()
    seeds = {path.name: path.stat().st_ino for path in image.directory.glob("work-seeds/*.ext4")}
    assert len(seeds) == 2  # as it was made, and of the size that was asked for
    create(bench, "four")
    assert seeds == {
        path.name: path.stat().st_ino for path in image.directory.glob("work-seeds/*.ext4")
    }
    assert bench.leftovers() == []


def test_a_file_that_changed_gives_another_seed(bench, register, tree, mine):
    image = register()
    create(bench, "one")
    (tree / "root" / "later").touch()
    image.rootfs.unlink()
    make_ext4(image.rootfs, content=tree)
    (disk,) = create(bench, "two")
    assert names(disk) == {b".profile", b"later"}
    assert len(list(image.directory.glob("work-seeds/*.ext4"))) == 2


@pytest.mark.parametrize("how", ["promoted", "imported"])
def test_an_image_of_bangers_own_has_one_from_the_first_work_disk_on(
    bench, register, how, tmp_path
):
    image = register()
    if how == "promoted":
        image = bench.run(lambda engine, op: engine.registrar.promote("own", op))
    else:
        bundle = tmp_path / "own.tar"
        bench.run(lambda engine, op: export_image(engine, "own", bundle, op))
        image = bench.run(lambda engine, op: engine.importer.take(str(bundle), op, name="carried"))
    assert not image.work_seed.exists()
    disks = create(bench, "one", "two", image=image.name)
    assert [names(disk) for disk in disks] == [{b".profile"}] * 2
    assert image.work_seed.stat().st_mode & 0o777 == 0o600
    inode = image.work_seed.stat().st_ino
    create(bench, "three", image=image.name)
    assert image.work_seed.stat().st_ino == inode
    assert bench.leftovers() == []


def test_what_cannot_be_read_is_left_to_the_guest(bench, register):
    image = register("-O", "inline_data")
    (disk,) = create(bench, "one")
    assert names(disk) is None
    assert not list(image.directory.glob("work-seeds/*.ext4"))


def test_no_root_gives_an_empty_disk(bench, register, tree):
    (tree / "root").rename(tree / "elsewhere")
    (tree / "root").symlink_to("elsewhere")
    register()
    (disk,) = create(bench, "one")
    assert names(disk) is None
    with disk.open("rb") as file:
        assert list(data_ranges(file.fileno(), disk.stat().st_size))


def test_a_work_disk_that_is_too_small_is_refused_and_names_its_size(bench, register, tree):
    (tree / "root" / "large").write_bytes(b"x" * 80 * MIB)
    register(size="160M")
    with pytest.raises(UsageProblem) as caught:
        create(bench, "one", work_disk=64 * MIB)
    assert caught.value.hints[0].startswith("--work-disk ")
    assert bench.leftovers() == []
