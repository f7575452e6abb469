"""Seeds of work disks hold what the image has in /root, and nothing else."""

from __future__ import annotations

from functools import partial

import pytest

from banger_core.errors import UsageProblem
from banger_core.model import Entry, EntryKind
from banger_core.rootfs.disks import clone_disk, seed_for

K = EntryKind
MIB = 1 << 20


@pytest.fixture
def seed_of(tmp_path, build):
    """Builds an image of entries; returns where the seed of its work disks would be."""

    def make(*entries, name="work", identity=b"i"):
        seed = tmp_path / f"{name}.ext4"
        build(partial(iter, entries), name=f"{name}-root.ext4", identity=identity, work_seed=seed)
        return seed

    return make


def test_the_seed_holds_roots_files_with_all_that_is_theirs(seed_of, file_entry, ask_debugfs, fsck):
    pieces = [2 * MIB, b"a" * 5000, 3 * MIB - 5000, b"end"]
    seed = seed_of(
        Entry(b"root", K.DIRECTORY, mode=0o700),
        file_entry(b"etc/passwd", b"root:x"),
        file_entry(b"root/.profile", b"hello\n", uid=7, gid=8, xattrs={b"user.x": b"y"}),
        Entry(b"root/again", K.HARDLINK, link=b"root/.profile"),
        Entry(b"outside", K.HARDLINK, link=b"root/.profile"),
        Entry(b"root/sub", K.DIRECTORY),
        Entry(b"root/sub/link", K.SYMLINK, size=11, link=b"/etc/passwd"),
        Entry(b"root/holes", K.FILE, size=5 * MIB + 3, data=iter(pieces)),
    )
    fsck(seed)
    assert seed.stat().st_mode & 0o777 == 0o600
    assert seed.stat().st_blocks * 512 < 8 * MIB
    commands = ["ls -p /", "stat /root", "stat /root/.profile", "cat /root/again"]
    commands += ["ea_list /root/.profile", "stat /root/sub/link", "cat /root/holes"]
    names, home, profile, again, xattrs, link, holes = ask_debugfs(seed, commands)
    assert {line.split(b"/")[5] for line in names.split()} == {b".", b"..", b"lost+found", b"root"}
    assert b"Mode:  0700" in home
    assert b"Links: 2 " in profile  # the name outside of /root does not count
    assert b"User:     7   Group:     8" in profile
    assert again == b"hello\n"
    assert b'user.x (1) = "y"' in xattrs
    assert b'Fast link dest: "/etc/passwd"' in link
    assert holes.startswith(bytes(2 * MIB) + b"a" * 5000 + bytes(3 * MIB - 5000) + b"end")


@pytest.mark.parametrize(
    "entries", [[], [Entry(b"root", K.SYMLINK, size=5, link=b"/home")]], ids=["none", "link"]
)
def test_there_is_no_seed_of_what_is_no_directory(seed_of, entries):
    assert not seed_of(*entries).exists()


def test_the_same_image_gives_the_same_seed(seed_of, file_entry):
    def make(name, identity):
        return seed_of(file_entry(b"root/f", b"x"), name=name, identity=identity).read_bytes()

    one = make("one", b"i")
    assert one == make("two", b"i")
    assert one != make("three", b"j")


def test_a_seed_has_the_inodes_that_root_needs(seed_of, ask_debugfs, fsck):
    files = [Entry(b"root/%d" % n, K.FILE, data=iter([])) for n in range(17_000)]
    seed = seed_of(Entry(b"root", K.DIRECTORY), *files)
    fsck(seed)
    assert ask_debugfs(seed, ["ls -p /root"])[0].count(b"\n") > 17_000


@pytest.mark.parametrize("size", [64 * MIB, 10 << 30])
def test_work_disks_of_any_size_are_made_of_a_seed(
    seed_of, file_entry, ask_debugfs, fsck, tmp_path, size
):
    seed = seed_of(file_entry(b"root/f", b"x"))
    disk = tmp_path / "work.raw"
    clone_disk(seed_for(seed, size, tmp_path / "seeds"), disk, format="raw", size=size)
    fsck(disk)
    assert disk.stat().st_size == size
    assert disk.stat().st_blocks * 512 < 32 * MIB
    assert ask_debugfs(disk, ["cat /root/f"]) == [b"x"]


def test_a_work_disk_too_small_for_the_seed_names_its_own_option(seed_of, tmp_path):
    data = iter([b"x" * MIB] * 50)
    seed = seed_of(Entry(b"root/big", K.FILE, size=50 * MIB, data=data))
    with pytest.raises(UsageProblem) as caught:
        seed_for(seed, 64 * MIB, tmp_path / "seeds", option="--work-disk")
    assert caught.value.hints[0].startswith("--work-disk ")
