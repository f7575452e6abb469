"""Random and damaged layers: a typed error, or a file system that is sound."""

from __future__ import annotations

import gzip
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oci_archives import (
    END,
    MIB,
    device,
    directory,
    extension,
    fifo,
    file,
    gnu_link,
    gnu_name,
    hardlink,
    header,
    pax,
    record,
    symlink,
    xattrs,
)
from oci_ext4 import read_tree

from banger_core.api import HostileInput, IntegrityError, UsageProblem, read_layer
from banger_core.rootfs.build import build_rootfs
from banger_core.rootfs.tree import Tree

EXPECTED = (HostileInput, IntegrityError, UsageProblem)
"""What bad input may end in. A plain BangerError would be a mistake of the writer."""

parts = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b".", b"..", b"", b".wh.a", b".wh..wh..opq", b"lost+found"]),
    st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name),
)
paths = st.lists(parts, min_size=1, max_size=4).map(b"/".join)
numbers = st.one_of(
    st.integers(0, 0o7777777), st.sampled_from([-1, 2**31, 2**32 - 1, 2**33, 2**63]),
    st.binary(max_size=8),
)  # fmt: skip
good_paths = st.lists(
    st.sampled_from(b"a b c dir link f\xff x\ny".split(b" ")), min_size=1, max_size=3
)
good_paths = good_paths.map(b"/".join)
ids, times = st.integers(0, 2**32 - 2), st.integers(-(2**31), 2**33)
contents = st.one_of(st.binary(max_size=20), st.sampled_from([b"x" * 4096, b"y" * 70_000]))
names = st.sampled_from(["user.a", "security.capability", "system.posix_acl_access", "trusted.b"])
keys = st.sampled_from(
    ["path", "linkpath", "size", "uid", "gid", "mtime", "GNU.sparse.map", "GNU.sparse.size",
     "GNU.sparse.major", "GNU.sparse.realsize", "GNU.sparse.name", "SCHILY.xattr.user.b",
     "hdrcharset"]
)  # fmt: skip
values = st.one_of(
    paths, st.integers(-5, 2**40).map(lambda one: b"%d" % one), st.binary(max_size=30)
)  # fmt: skip


def sparse(path, size):
    numbers = b"%d,1" % (size - 1)
    records = {"GNU.sparse.map": numbers, "GNU.sparse.size": b"%d" % size}
    return pax(**records) + file(path, b"x")


good = st.one_of(
    st.builds(file, good_paths, contents, mode=st.integers(0, 0o7777), uid=ids, mtime=times),
    st.builds(directory, good_paths, mode=st.integers(0, 0o7777), gid=ids),
    st.builds(symlink, good_paths, good_paths),
    st.builds(device, good_paths, st.integers(0, 4095), st.integers(0, 2**20 - 1)),
    st.builds(fifo, good_paths),
    st.builds(lambda path: file(path.rpartition(b"/")[0] + b"/.wh.a"), good_paths),
    st.builds(lambda path: pax(path=path) + file(b"short", b"long"), good_paths),
    st.builds(sparse, good_paths, st.integers(1, 2**40)),
    st.builds(
        lambda name, value, path: xattrs(**{"user." + name: value}) + file(path),
        st.sampled_from("abc"), st.binary(max_size=3000), good_paths,
    ),
)  # fmt: skip
odd = st.one_of(
    st.builds(file, paths, contents, mode=numbers, uid=numbers, mtime=numbers),
    st.builds(symlink, paths, paths),
    st.builds(hardlink, paths, paths),
    st.builds(device, paths, numbers, numbers, st.sampled_from([b"3", b"4"])),
    st.builds(header, paths, st.binary(min_size=1, max_size=1), size=numbers, link=paths),
    st.builds(gnu_name, paths),
    st.builds(gnu_link, paths),
    st.builds(lambda key, value: pax(**{key: value}), keys, values),
    st.builds(lambda key, value: pax(b"g", **{key: value}), keys, values),
    st.builds(lambda name, value: xattrs(**{name: value}), names, st.binary(max_size=80)),
    st.builds(extension, st.sampled_from([b"x", b"g", b"L", b"K"]), st.binary(max_size=60)),
    st.builds(lambda key, value: extension(b"x", record(key.encode(), value)), keys, values),
)
members = st.one_of(good, good, good, odd)
archives = st.one_of(st.lists(good, max_size=12), st.lists(members, max_size=12)).map(b"".join)
packers = st.sampled_from([bytes, gzip.compress, zstd.compress])

damages = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "splice", "repeat", "checksum"]),
        st.integers(0, 1 << 20),
        st.integers(0, 255),
    ),
    max_size=6,
)


def damaged(data, damage):
    data = bytearray(data)
    for what, place, value in damage:
        if not data:
            break
        at = place % len(data)
        if what == "flip":
            data[at] ^= value
        elif what == "cut":
            del data[at : at + value * 7]
        elif what == "splice":
            other = place * 31 % len(data)
            data[at:at] = data[other : other + value * 5]
        elif what == "repeat":
            data += data[at - at % 512 : at - at % 512 + 1024]
        else:
            mend_checksums(data)
    return bytes(data)


def mend_checksums(data):
    """Right checksums, so that damage reaches the fields behind them."""
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])


@dataclass
class FileLayer:
    path: Path
    digest: str = ""

    def entries(self):
        return read_layer(self.path)


def write_layers(blobs, home):
    for number, blob in enumerate(blobs):
        path = home / f"layer-{number}"
        path.write_bytes(blob)
        yield FileLayer(path)


def consume(layers):
    """Merge the layers as the builder does; content is counted and thrown away."""
    tree = Tree()
    for layer in layers:
        tree.begin_layer()
        for entry in layer.entries():
            tree.apply(entry)
            total = 0
            for piece in entry.data or ():
                total += piece if isinstance(piece, int) else len(piece)
            assert total == entry.size
    return tree


def outcome(work):
    """What ``work`` returns, or the error it ends in, which must be one that bad input may have."""
    try:
        return work()
    except EXPECTED as problem:
        return problem


def is_one_line(problem):
    return f"{problem.summary} {problem.cause}".isprintable()


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(archives, damages, packers, damages), min_size=1, max_size=3))
def test_reading_random_and_damaged_layers_ends_in_a_typed_error_or_none(layers):
    blobs = [
        damaged(pack(damaged(archive + END, inner)), outer)
        for archive, inner, pack, outer in layers
    ]
    with tempfile.TemporaryDirectory() as home:
        found = outcome(lambda: consume(write_layers(blobs, Path(home))))
    assert isinstance(found, Tree) or is_one_line(found)


@pytest.mark.timeout(300)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(archives, st.one_of(st.just([]), damages)), min_size=1, max_size=3))
def test_what_is_built_of_random_layers_is_sound(layers):
    blobs = [damaged(archive, damage) + END for archive, damage in layers]
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        image = home / "root.ext4"

        @contextmanager
        def opened():
            yield list(write_layers(blobs, home))

        found = outcome(lambda: build_rootfs(opened, image, size=64 * MIB, identity=b"fuzz"))
        if isinstance(found, EXPECTED):
            assert is_one_line(found)
            assert not image.exists()
            return
        subprocess.run(["/usr/sbin/e2fsck", "-fn", image], check=True, capture_output=True)
        # The names that the merge came to are those on the disk
        names = {path for path in read_tree(image) if path}
        assert names - {b"lost+found"} == set(names_of(consume(write_layers(blobs, home))))


def names_of(tree):
    to_do = [(b"", tree.root)]
    while to_do:
        path, node = to_do.pop()
        for name, child in node.children.items():
            full = path + b"/" + name if path else name
            if full != b"lost+found":
                yield full
            if child.children is not None:
                to_do.append((full, child))
