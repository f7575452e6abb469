"""File systems that others made are read as debugfs and the kernel see them, or not at all."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banger_core.errors import HostileInput
from banger_core.model import Entry, EntryKind
from banger_core.rootfs.build import build_rootfs
from banger_core.rootfs.ext4 import Unreadable
from banger_core.rootfs.ext4 import reader as under_test
from banger_core.rootfs.ext4.reader import DirectoryReader
from banger_core.rootfs.ext4.tools import Identity
from banger_core.rootfs.ext4.xattrs import pack_xattrs
from banger_core.rootfs.workseed import _content, extract_work_seed

K = EntryKind
MIB = 1 << 20
NAMES = Identity.derive(b"test")
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in [(1, 6, 2**32 - 1), (2, 4, 7), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1),
                  (32, 0, 2**32 - 1)]
)  # fmt: skip


def read(image, name=b"root"):
    with image.open("rb") as file:
        reader = DirectoryReader(file.fileno())
        return reader.read(name), reader.block


def content_of(node, image, block):
    with image.open("rb") as file:
        pieces = _content(node, file.fileno(), block)
        return b"".join(bytes(one) if isinstance(one, int) else one for one in pieces)


def view(image):
    """Path to everything there is about it, of what is below /root; the reader's view."""
    top, block = read(image)
    found, to_do = {}, [(b"root", top)]
    while to_do:
        path, node = to_do.pop()
        found[path] = (node.kind, node.mode, node.uid, node.gid, node.mtime_ns, node.rdev)
        found[path] += (node.link, dict(node.xattrs))
        if node.kind is K.FILE:
            found[path] += (node.links, content_of(node, image, block))
        for name, child in (node.children or {}).items():
            to_do.append((path + b"/" + name, child))
    return found


def seen(tree):
    """The same out of what debugfs says."""
    found = {}
    for path, one in tree.items():
        if path == b"root" or path.startswith(b"root/"):
            found[path] = (one.kind, one.mode, one.uid, one.gid, one.mtime_ns, one.rdev)
            found[path] += (one.target, one.xattrs)
            if one.kind is K.FILE:
                found[path] += (one.links, one.content())
    return found


KERNEL_WRITES = """
import os, subprocess, sys
from pathlib import Path

image, place, acl = sys.argv[1:]
if subprocess.run(["mount", "-o", "loop", image, place], check=False).returncode:
    print("no loop mounts")
    sys.exit(77)
home = Path(place, "root")
(home / "added").write_bytes(b"by the kernel")
os.setxattr(home / "added", "system.posix_acl_access", bytes.fromhex(acl))
os.setxattr(home / "added", "user.x", b"y" * 300)
os.chown(home / "added", 70_000, 80_000)
os.mknod(home / "device", 0o20600, os.makedev(300, 70_000))
for number in range(2000):
    (home / "many" / f"more-of-these-{number}").touch()
for number in range(0, 2000, 3):
    (home / "many" / f"more-of-these-{number}").unlink()
handle = os.open(home / "allocated", os.O_CREAT | os.O_RDWR)
os.posix_fallocate(handle, 0, 300_000)
os.pwrite(handle, b"in the middle", 150_000)
os.close(handle)
subprocess.run(["umount", place], check=True)
"""


@pytest.fixture
def foreign(tmp_path):
    """``foreign(*options)``: an ext4 that mke2fs made of a directory with one of everything."""
    source = tmp_path / "source"
    home = source / "root"
    (home / "many").mkdir(parents=True)
    (home / "deep/er/still").mkdir(parents=True)
    (home / "big").write_bytes(random.Random(1).randbytes(700_001))
    (home / "big").chmod(0o4751)
    os.link(home / "big", home / "deep/er/again")
    (home / "short").symlink_to("/etc/passwd")
    (home / "long").symlink_to("x" * 300)
    os.mkfifo(home / "pipe", 0o640)
    for number in range(250):
        (home / "many" / f"{number}-with-a-name-that-is-longer-than-most").touch()
    with (home / "holes").open("wb") as file:
        for at in range(40):
            file.seek(at * 150_000)
            file.write(b"data")
        file.truncate(8 * MIB + 3)
    os.utime(home / "holes", ns=(0, 12_345_678 * 10**9))
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener, contextlib.chdir(home):
        listener.bind("socket")
    for attribute, value in [("user.small", b"s"), ("user.large", b"l" * 700)]:
        os.setxattr(home / "big", attribute, value)

    def make(*options, size=48 * MIB):
        image = tmp_path / "foreign.ext4"
        image.unlink(missing_ok=True)
        run("mke2fs", "-q", "-F", "-t", "ext4", "-d", source, *options, image, f"{size >> 10}K")
        return image

    return make


def run(program, *arguments, fine=(0,)):
    done = subprocess.run(
        [program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )
    assert done.returncode in fine, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [(), ("-b", 1024), ("-b", 2048, "-I", 512), ("-b", 1024, "-I", 128), ("-O", "^64bit"),
     ("-O", "bigalloc"), ("-O", "large_dir,ea_inode,metadata_csum_seed"),
     ("-O", "^flex_bg,^metadata_csum,^dir_index")],
    ids=str,
)  # fmt: skip
def test_a_seed_out_of_a_foreign_file_system_has_what_that_has(
    foreign, options, read_image, fsck, tmp_path
):
    image, seed = foreign(*options), tmp_path / "seed.ext4"
    run("e2fsck", "-fyD", image, fine=(0, 1))
    assert extract_work_seed(image, seed, NAMES)
    fsck(seed)
    (first, _), found = read(image), view(image)
    assert b"socket" not in first.children
    assert found[b"root/holes"][4] == 12_345_678 * 10**9
    assert len(found[b"root/big"][7]) == 2
    assert seen(read_image(seed)) == found
    assert seed.stat().st_mode & 0o777 == 0o600


def test_what_the_kernel_wrote_is_read_as_the_kernel_sees_it(foreign, mounted, tmp_path):
    if os.geteuid():
        pytest.skip("the kernel mounts images for root only")
    image = foreign("-b", 1024)
    place = tmp_path / "written"
    place.mkdir()
    # Of a namespace that is made meanwhile elsewhere, this mount would be a part, and stay
    own = ["unshare", "--mount", "--propagation", "private"]
    if run(*own, sys.executable, "-c", KERNEL_WRITES, image, place, ACL.hex(), fine=(0, 77)):
        pytest.skip("no loop mounts here")
    found = view(image)
    with mounted(image) as place:
        names = {
            os.path.relpath(os.path.join(top, name), os.fsencode(place))  # noqa: PTH118
            for top, below, files in os.walk(os.fsencode(place / "root"))
            for name in (*below, *files)
        }
        assert {*found} == names - {b"root/socket"} | {b"root"}
        for path, (kind, mode, uid, gid, mtime, rdev, link, xattrs, *rest) in found.items():
            there = os.fsencode(place) + b"/" + path
            facts = os.lstat(there)
            assert (facts.st_mode & 0o7777, facts.st_uid, facts.st_gid) == (mode, uid, gid)
            assert facts.st_mtime_ns == mtime
            assert xattrs == {
                os.fsencode(name): os.getxattr(there, name, follow_symlinks=False)
                for name in os.listxattr(there, follow_symlinks=False)
            }
            if kind is K.FILE:
                assert rest == [facts.st_nlink, Path(os.fsdecode(there)).read_bytes()], path
            elif kind is K.SYMLINK:
                assert os.readlink(there) == link  # noqa: PTH115 - names are bytes
            elif kind is K.CHAR:
                assert (os.major(facts.st_rdev), os.minor(facts.st_rdev)) == rdev
    assert found[b"root/allocated"][-1][150_000:150_013] == b"in the middle"
    seed = tmp_path / "seed.ext4"
    assert extract_work_seed(image, seed, NAMES)
    assert view(seed) == found


attributes = st.dictionaries(
    st.sampled_from([b"user.a", b"user.bb", b"security.c", b"trusted.d"]),
    st.binary(max_size=600), max_size=3,
)  # fmt: skip
entry_names = st.binary(min_size=1, max_size=60).filter(
    lambda name: name not in (b".", b"..") and b"/" not in name and b"\0" not in name
)


@st.composite
def trees(draw):
    """Entries below /root; what they stand for is given by name."""
    listed = draw(st.lists(st.tuples(entry_names, st.sampled_from([*K][:7])), max_size=12,
                           unique_by=lambda one: one[0]))  # fmt: skip
    made, files, above = [("", b"root", K.DIRECTORY, 0o700, b"", {})], [], [b"root"]
    for name, kind in listed:
        path = draw(st.sampled_from(above)) + b"/" + name
        payload = b""
        if kind is K.FILE:
            size = draw(st.sampled_from([0, 1, 4095, 4096, 4097, 20_000]))
            payload = draw(st.binary(min_size=1, max_size=40)).ljust(40, b".") * (size // 40 + 1)
            payload = payload[:size]
        elif kind is K.SYMLINK:
            payload = draw(st.binary(min_size=1, max_size=200).filter(lambda one: b"\0" not in one))
        elif kind is K.HARDLINK:
            if not files:
                continue
            payload = draw(st.sampled_from(files))
        if kind is K.FILE:
            files.append(path)
        elif kind is K.DIRECTORY:
            above.append(path)
        # Attributes of links in the trusted and security namespaces only; here of none
        more = draw(attributes) if kind in (K.FILE, K.DIRECTORY) else {}
        made.append((name, path, kind, draw(st.integers(0, 0o7777)), payload, more))
    return made


@pytest.mark.timeout(300)
@settings(
    max_examples=15, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(trees(), st.integers(-(2**31), 2**34 - 2**31 - 1), st.integers(0, 2**32 - 2))
def test_what_is_written_is_read_again(open_layers, listed, seconds, owner):
    mtime = seconds * 10**9 + 123
    entries = []
    for _, path, kind, mode, payload, xattrs in listed:
        more = {"data": iter([payload]), "size": len(payload)} if kind is K.FILE else {}
        if kind in (K.SYMLINK, K.HARDLINK):
            more = {"link": payload, "size": len(payload) if kind is K.SYMLINK else 0}
        if kind in (K.CHAR, K.BLOCK):
            more = {"rdev": (owner % 4096, owner % 2**20)}
        entries.append(Entry(path, kind, mode=mode, uid=owner, gid=owner, mtime_ns=mtime,
                             xattrs=xattrs, **more))  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        image, seed = Path(place, "root.ext4"), Path(place, "seed.ext4")
        again = Path(place, "again.ext4")
        build_rootfs(open_layers(partial(iter, entries)), image, size=64 * MIB,
                     identity=b"i", work_seed=seed)  # fmt: skip
        found = view(image)
        assert extract_work_seed(image, again, NAMES)
        assert found == view(seed) == view(again)
    assert {*found} == {path for _, path, *_ in listed}
    for _, path, kind, mode, payload, xattrs in listed:
        if kind is K.HARDLINK:
            assert found[path] == found[payload]
            continue
        assert found[path][0] is kind
        assert found[path][1] == (0o777 if kind is K.SYMLINK else mode)
        assert found[path][2:5] == (owner, owner, mtime)
        assert found[path][7] == xattrs
        if kind is K.FILE:
            assert found[path][9] == payload
        elif kind is K.SYMLINK:
            assert found[path][6] == payload
        elif kind in (K.CHAR, K.BLOCK):
            assert found[path][5] == (owner % 4096, owner % 2**20)


# --- what is not as it should be ------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [("-O", "^extents,^64bit"), ("-O", "inline_data"), ("-O", "meta_bg,^resize_inode"),
     ("-O", "encrypt")],
    ids=str,
)  # fmt: skip
def test_what_is_not_known_gives_no_seed(foreign, options, tmp_path, caplog):
    caplog.set_level("DEBUG")
    assert not extract_work_seed(foreign(*options), tmp_path / "seed.ext4", NAMES)
    assert "no seed of work disks" in caplog.text
    assert not [place for place in tmp_path.iterdir() if "seed" in place.name]


def test_a_root_that_is_a_link_or_missing_gives_no_seed(build, tmp_path):
    link = build(partial(iter, [Entry(b"root", K.SYMLINK, size=5, link=b"/home")])).image
    assert not extract_work_seed(link, tmp_path / "seed.ext4", NAMES)
    none = build(partial(iter, [Entry(b"etc", K.DIRECTORY)]), name="none.ext4").image
    assert not extract_work_seed(none, tmp_path / "seed.ext4", NAMES)
    assert not (tmp_path / "seed.ext4").exists()


@pytest.mark.parametrize("limit", ["ENTRIES_MAX", "EXTENTS_MAX", "KEPT_MAX"])
def test_too_much_gives_no_seed(foreign, limit, tmp_path, monkeypatch):
    image = foreign()
    assert read(image)[0]
    monkeypatch.setattr(under_test, limit, 20)
    with pytest.raises(Unreadable, match=r"20|too much"):
        read(image)


def test_names_beside_it_are_too_many_as_well(tmp_path, monkeypatch):
    source, image = tmp_path / "source", tmp_path / "wide.ext4"
    source.mkdir()
    for number in range(30):
        (source / str(number)).touch()
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", source, image, "8M")
    assert read(image)[0] is None
    monkeypatch.setattr(under_test, "ENTRIES_MAX", 20)
    with pytest.raises(Unreadable, match="more than 20 names"):
        read(image)


def patched(image, number, offset, value):
    """Write ``value`` into an inode, found as debugfs finds it."""
    told = run("debugfs", "-R", f"imap <{number}>", image)
    block, inside = re.search(r"located at block (\d+), offset 0x(\w+)", told).groups()
    with image.open("r+b") as file:
        file.seek(int(block) * 4096 + int(inside, 16) + offset)
        file.write(value)


@pytest.mark.parametrize("name", ["/root/deep/er", "/root"])
def test_a_directory_inside_itself_ends(foreign, name, ask_debugfs):
    """A loop: the directory's own blocks are given to one that is below it."""
    image = foreign("-b", 4096)
    above = ask_debugfs(image, [f"stat {name}"])[0]
    below = ask_debugfs(image, ["stat /root/deep/er/still"])[0]
    number = int(below.split()[1])
    start = above.split(b"(0):")[1].split()[0]
    extent = struct.pack("<HHHHIIHHI", 0xF30A, 1, 4, 0, 0, 0, 1, 0, int(start))
    patched(image, number, 40, extent)
    with pytest.raises(Unreadable):
        read(image)


def test_files_that_share_blocks_do_not_become_more_than_the_disk(foreign, ask_debugfs):
    """One extent over nearly all of the disk, in three files."""
    image = foreign("-b", 4096)
    listing = ask_debugfs(image, ["ls -p /root/many"])[0]
    numbers = [int(line.split(b"/")[1]) for line in listing.splitlines() if b"-with-" in line]
    extent = struct.pack("<HHHHIIHHI", 0xF30A, 1, 4, 0, 0, 0, 8000, 0, 100)
    for number in numbers[:3]:
        patched(image, number, 40, extent)
        patched(image, number, 4, struct.pack("<I", 8000 * 4096))
    with pytest.raises(Unreadable, match="share blocks"):
        read(image)


@pytest.mark.timeout(300)
def test_flipped_bytes_are_read_or_refused_and_nothing_else(foreign, monkeypatch, tmp_path):
    image = foreign("-b", 1024)
    run("e2fsck", "-fyD", image, fine=(0, 1))
    places, real, taken = set(), os.pread, [0]

    def pread(handle, size, place):
        data = real(handle, size, place)
        taken[0] += len(data)
        places.add((place, size))
        return data

    monkeypatch.setattr(os, "pread", pread)
    read(image)
    ranges, enough = sorted(places), 100 * taken[0]
    chance, refused, extracted = random.Random(20), 0, 0
    with image.open("r+b", buffering=0) as file:
        for _ in range(250):
            place, size = chance.choice(ranges)
            # Where the fields are, more often than somewhere in what is empty
            at = place + chance.randrange(min(size, chance.choice([size, 128, 64])))
            file.seek(at)
            old = file.read(4)
            new = chance.choice([
                bytes([old[0] ^ 1 << chance.randrange(8)]), b"\0\0\0\0", b"\xff\xff\xff\xff",
                chance.randbytes(4), struct.pack("<I", chance.randrange(50_000)),
            ])  # fmt: skip
            file.seek(at)
            file.write(new)
            taken[0] = 0
            try:
                node, block = read(image)
            except Unreadable:
                refused += 1
            else:
                if node is not None and node.size < MIB:
                    walk(node, image, block)
                if chance.random() < 0.03:
                    extract_work_seed(image, tmp_path / "seed.ext4", NAMES)
                    extracted += 1
            assert taken[0] < enough
            file.seek(at)
            file.write(old)
    assert refused > 25
    assert extracted > 1
    assert read(image)[0]


def walk(node, image, block):
    """All that the writer would ask of a tree; large holes are counted, not made."""
    with image.open("rb") as file:
        to_do = [node]
        while to_do:
            one = to_do.pop()
            to_do.extend((one.children or {}).values())
            with contextlib.suppress(HostileInput):
                pack_xattrs(one.xattrs)
            if one.kind is K.FILE:
                pieces = _content(one, file.fileno(), block)
                assert one.size == sum(
                    piece if isinstance(piece, int) else len(piece) for piece in pieces
                )
