# ruff: noqa: PTH115, PTH208 - names are bytes, which pathlib does not take
"""Every kind of file, as debugfs and the kernel see it afterwards."""

from __future__ import annotations

import os
import random
import stat
import struct

import pytest

from banger_core.errors import HostileInput, IntegrityError
from banger_core.model import Entry, EntryKind

K = EntryKind
SECOND = 10**9
CAPABILITY = struct.pack("<IIIII", 0x02000001, 0x400, 0, 0, 0)
UNQUALIFIED = 0xFFFFFFFF


def acl(unqualified: int) -> bytes:
    """u::rwx u:70000:r-x g::r-- m::r-x o::---, as getxattr(2) gives it; entries without an id
    have -1 there from the kernel and 0 from debugfs."""
    entries = [(0x01, 7, unqualified), (0x02, 5, 70_000), (0x04, 4, unqualified)]
    entries += [(0x10, 5, unqualified), (0x20, 0, unqualified)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACL = acl(UNQUALIFIED)


def everything(file_entry):
    def layer():
        yield Entry(b".", K.DIRECTORY, mode=0o755, mtime_ns=5 * SECOND)
        yield file_entry(b"empty", b"", mode=0o600)
        yield file_entry(
            b"bin/su", b"#!" * 3000, mode=0o4755, uid=100_000, gid=4_000_000_000, mtime_ns=123456789
        )
        yield file_entry(b"caps", b"x", xattrs={b"security.capability": CAPABILITY})
        yield file_entry(b"acl", b"x", mode=0o700, xattrs={b"system.posix_acl_access": ACL})
        yield Entry(b"acldir", K.DIRECTORY, xattrs={b"system.posix_acl_default": ACL})
        yield file_entry(
            b"attrs", b"", xattrs={b"user.a": b"1", b"user.b": b"", b"trusted.c": b"\0\xff"}
        )
        yield file_entry(
            b"many", b"", xattrs={b"user.big": bytes(range(250)) * 14, b"user.s": b"s"}
        )
        yield Entry(b"short", K.SYMLINK, link=b"a" * 59)
        yield Entry(b"inode-full", K.SYMLINK, link=b"b" * 60)
        yield Entry(b"long", K.SYMLINK, link=b"c/" * 2047 + b"c", mtime_ns=SECOND)
        yield Entry(b"dev/null", K.CHAR, mode=0o666, rdev=(1, 3))
        yield Entry(b"dev/huge", K.BLOCK, rdev=(4095, 1048575))
        yield Entry(b"fifo", K.FIFO, mode=0o622)
        yield file_entry(b"na\xffme\n\xe2\x82", b"bytes")
        yield file_entry(b"n" * 255, b"long name")
        yield file_entry(b"one", b"shared")
        yield Entry(b"two", K.HARDLINK, link=b"one")
        yield Entry(b"dev/three", K.HARDLINK, link=b"./one")
        yield file_entry(b"old", b"", mtime_ns=-2_000_000_000 * SECOND + 1)
        yield file_entry(b"future", b"", mtime_ns=15_000_000_000 * SECOND + 999_999_999)
        yield file_entry(b"beyond", b"", mtime_ns=1 << 64)

    return layer


def test_debugfs_sees_every_kind_as_it_was_given(build, file_entry, fsck):
    built = build(everything(file_entry))
    fsck(built.image)
    tree = built.tree()

    assert tree[b""].mtime_ns == 5 * SECOND
    assert (tree[b"empty"].size, tree[b"empty"].extents, tree[b"empty"].mode) == (0, [], 0o600)
    su = tree[b"bin/su"]
    assert (su.mode, su.uid, su.gid, su.mtime_ns) == (0o4755, 100_000, 4_000_000_000, 123456789)
    assert su.content() == b"#!" * 3000
    assert tree[b"caps"].xattrs == {b"security.capability": CAPABILITY}
    assert tree[b"acl"].xattrs == {b"system.posix_acl_access": acl(0)}
    assert tree[b"acl"].mode == 0o750
    assert tree[b"acldir"].xattrs == {b"system.posix_acl_default": acl(0)}
    assert tree[b"attrs"].xattrs == {b"user.a": b"1", b"user.b": b"", b"trusted.c": b"\0\xff"}
    assert tree[b"attrs"].sectors == 0
    assert tree[b"many"].xattrs == {b"user.big": bytes(range(250)) * 14, b"user.s": b"s"}
    assert tree[b"short"].target == b"a" * 59
    assert tree[b"short"].sectors == 0
    assert tree[b"inode-full"].target == b"b" * 60
    assert tree[b"long"].target == b"c/" * 2047 + b"c"
    assert (tree[b"dev/null"].kind, tree[b"dev/null"].rdev) == (K.CHAR, (1, 3))
    assert (tree[b"dev/huge"].kind, tree[b"dev/huge"].rdev) == (K.BLOCK, (4095, 1048575))
    assert (tree[b"fifo"].kind, tree[b"fifo"].mode) == (K.FIFO, 0o622)
    assert tree[b"na\xffme\n\xe2\x82"].content() == b"bytes"
    assert tree[b"n" * 255].content() == b"long name"
    assert tree[b"one"].inode == tree[b"two"].inode == tree[b"dev/three"].inode
    assert tree[b"one"].links == 3
    assert tree[b"dev"].links == 2
    assert tree[b"old"].mtime_ns == -2_000_000_000 * SECOND + 1
    assert tree[b"future"].mtime_ns == 15_000_000_000 * SECOND + 999_999_999
    assert tree[b"beyond"].mtime_ns == ((3 << 32) + 0x7FFFFFFF) * SECOND
    assert built.facts.inodes == max(found.inode for found in tree.values())


def test_the_kernel_sees_every_kind_as_it_was_given(build, file_entry, mounted):
    built = build(everything(file_entry))
    with mounted(built.image) as root:
        top = os.fsencode(root)
        facts = {name: os.lstat(top + b"/" + name) for name in os.listdir(top)}
        su = os.lstat(top + b"/bin/su")
        assert (su.st_mode & 0o7777, su.st_uid, su.st_gid) == (0o4755, 100_000, 4_000_000_000)
        assert su.st_mtime_ns == 123456789
        assert os.getxattr(top + b"/caps", b"security.capability") == CAPABILITY
        assert os.getxattr(top + b"/acl", b"system.posix_acl_access") == ACL
        assert os.getxattr(top + b"/acldir", b"system.posix_acl_default") == ACL
        assert os.getxattr(top + b"/many", b"user.big") == bytes(range(250)) * 14
        assert sorted(os.listxattr(top + b"/attrs")) == ["trusted.c", "user.a", "user.b"]
        assert os.readlink(top + b"/long") == b"c/" * 2047 + b"c"
        assert os.lstat(top + b"/dev/huge").st_rdev == os.makedev(4095, 1048575)
        assert stat.S_ISFIFO(facts[b"fifo"].st_mode)
        assert (root / os.fsdecode(b"na\xffme\n\xe2\x82")).read_bytes() == b"bytes"
        assert facts[b"one"].st_nlink == 3
        assert facts[b"future"].st_mtime_ns == 15_000_000_000 * SECOND + 999_999_999
        assert facts[b"old"].st_mtime_ns == -2_000_000_000 * SECOND + 1


def test_holes_stay_holes_and_data_lies_beyond_four_gib(build, fsck, mounted):
    tail = (5 << 30) + 12345

    def layer():
        pieces = [5000, b"x" * 9000, tail - 14000, b"end", 4096 * 3]
        yield Entry(b"sparse", K.FILE, size=tail + 3 + 4096 * 3, data=iter(pieces))

    built = build(layer)
    fsck(built.image)
    found = built.tree()[b"sparse"]
    assert found.size == tail + 3 + 4096 * 3
    assert dict(found.parts()) == {
        4096: bytes(904) + b"x" * 9000 + bytes(3 * 4096 - 904 - 9000),
        tail // 4096 * 4096: bytes(tail % 4096) + b"end" + bytes(4096 - tail % 4096 - 3),
    }
    assert found.sectors == 4 * 8
    with mounted(built.image) as root, (root / "sparse").open("rb") as file:
        file.seek(tail)
        assert file.read(3) == b"end"
        assert (root / "sparse").stat().st_blocks == 4 * 8
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 4096


@pytest.mark.parametrize(
    ("extents", "depth"), [(4, 0), (5, 1), (340, 1), (1360, 1), (1361, 2), (3000, 2)]
)
def test_extent_trees_grow_as_deep_as_a_file_needs(build, fsck, ask_debugfs, extents, depth):
    def layer():
        pieces = [piece for _ in range(extents) for piece in (b"z", 8191)]
        yield Entry(b"holes", K.FILE, size=8192 * extents, data=iter(pieces))

    built = build(layer)
    fsck(built.image)
    found = built.tree()[b"holes"]
    assert [logical for logical, _, _ in found.extents] == list(range(0, 2 * extents, 2))
    assert found.content() == b"".join(b"z" + bytes(8191) for _ in range(extents))
    [header] = ask_debugfs(built.image, [f"extents <{found.inode}>"])
    assert f" 0/ {depth} ".encode() in header


def test_a_directory_of_ten_thousand_is_hashed_and_complete(build, file_entry, fsck, mounted):
    names = [b"file-%05d-%s" % (number, b"x" * (number % 40)) for number in range(10_000)]

    def layer():
        yield from (file_entry(b"big/" + name) for name in names)

    built = build(layer)
    fsck(built.image)
    tree = built.tree()
    assert {path[4:] for path in tree if path.startswith(b"big/")} == set(names)
    assert tree[b"big"].flags & 0x1000
    with mounted(built.image) as root:
        assert set(os.listdir(os.fsencode(root / "big"))) == set(names)
        assert all((root / "big" / os.fsdecode(name)).exists() for name in names[::97])


def test_directories_with_too_many_subdirectories_stop_counting_links(build, fsck):
    def layer():
        yield from (Entry(b"d/%d" % number, K.DIRECTORY) for number in range(65_001))

    built = build(layer, size=2 << 30)
    fsck(built.image)


def test_hard_links_up_to_the_limit_of_ext4_and_no_further(build, file_entry, fsck):
    def layer(names):
        def entries():
            yield file_entry(b"0", b"many names")
            yield from (Entry(b"%d" % n, K.HARDLINK, link=b"0") for n in range(1, names))

        return entries

    built = build(layer(65_000))
    fsck(built.image)
    with pytest.raises(HostileInput, match="65000 hard links"):
        build(layer(65_001), name="other")


def test_lost_and_found_of_the_image_keeps_what_is_in_it(build, file_entry, fsck):
    def layer():
        yield Entry(b"lost+found", K.DIRECTORY, mode=0o711, uid=7)
        yield file_entry(b"lost+found/#12", b"found again")

    built = build(layer)
    fsck(built.image)
    tree = built.tree()
    assert tree[b"lost+found/#12"].content() == b"found again"
    assert (tree[b"lost+found"].inode, tree[b"lost+found"].mode, tree[b"lost+found"].uid) == (
        11,
        0o711,
        7,
    )


def test_a_file_named_lost_and_found_is_refused(build, file_entry, tmp_path):
    with pytest.raises(HostileInput, match="lost"):
        build(lambda: iter([file_entry(b"lost+found", b"x")]))
    assert list(tmp_path.iterdir()) == []


def test_attributes_that_need_inode_and_block_are_split(build, file_entry, fsck, mounted):
    xattrs = {b"user.big": b"B" * 4030, b"user.small": b"S" * 40}
    built = build(lambda: iter([file_entry(b"f", b"", xattrs=xattrs)]))
    fsck(built.image)
    assert built.tree()[b"f"].xattrs == xattrs
    with mounted(built.image) as root:
        assert os.getxattr(root / "f", "user.big") == b"B" * 4030


def test_attributes_beyond_what_ext4_holds_name_the_file(build, file_entry):
    with pytest.raises(HostileInput) as caught:
        build(lambda: iter([file_entry(b"etc/f", b"", xattrs={b"user.a": b"x" * 5000})]))
    assert "etc/f" in caught.value.cause


def test_attributes_of_other_systems_are_left_out(build, file_entry, fsck):
    xattrs = {b"com.apple.quarantine": b"x", b"user.": b"x", b"user.kept": b"y"}
    built = build(lambda: iter([file_entry(b"f", b"", xattrs=xattrs)]))
    fsck(built.image)
    assert built.tree()[b"f"].xattrs == {b"user.kept": b"y"}


@pytest.mark.parametrize("broken", [b"", b"\2\0\0\0\1", b"\1\0\0\0", b"\2\0\0\0" + bytes(7)])
def test_malformed_acls_are_refused(build, file_entry, broken):
    with pytest.raises(HostileInput, match="ACL"):
        build(lambda: iter([file_entry(b"f", b"", xattrs={b"system.posix_acl_access": broken})]))


@pytest.mark.parametrize("pieces", [[b"123"], [b"12345"], [b"1", 9], [2, b"1"], [-1, b"12345"]])
def test_content_of_another_length_than_announced_is_refused(build, pieces, tmp_path):
    def layer():
        yield Entry(b"f", K.FILE, size=4, data=iter(pieces))

    with pytest.raises(IntegrityError):
        build(layer)
    assert list(tmp_path.iterdir()) == []


def test_content_in_odd_pieces_arrives_whole(build, fsck):
    whole = random.Random(7).randbytes(3_000_001)
    cuts = sorted(random.Random(8).sample(range(len(whole)), 500))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    def layer():
        views = (memoryview(piece) for piece in pieces)
        yield Entry(b"f", K.FILE, size=len(whole), data=views)

    built = build(layer)
    fsck(built.image)
    assert built.tree()[b"f"].content() == whole
