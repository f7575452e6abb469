"""Sizes, sameness, and what is left when a build ends early."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banger_core import packages
from banger_core.errors import (
    BangerError,
    HostileInput,
    HostNotReady,
    IntegrityError,
    Interrupted,
    NoSpace,
    UsageProblem,
)
from banger_core.jsonable import from_json, to_json
from banger_core.model import Entry, EntryKind
from banger_core.rootfs.build import RootfsFacts, build_rootfs
from banger_core.rootfs.disks import minimum_disk
from banger_core.sizes import parse_size

K = EntryKind
MIB = 1 << 20


def filler(megabytes, file_entry, path=b"big"):
    block = random.Random(3).randbytes(MIB)

    def layer():
        data = itertools.repeat(block, megabytes)
        yield Entry(path, K.FILE, size=megabytes * MIB, data=data)
        yield file_entry(b"small", b"s")

    return layer


def test_the_same_input_gives_the_same_bytes(build, file_entry):
    def layers():
        base = [
            file_entry(b"d/%d" % n, b"x" * n, xattrs={b"user.n": b"%d" % n}) for n in range(500)
        ]
        return [lambda: iter(base), lambda: iter([Entry(b"d/7", K.WHITEOUT)])]

    one = build(*layers(), name="one").image.read_bytes()
    two = build(*layers(), name="two").image.read_bytes()
    assert one == two
    other = build(*layers(), name="three", identity=b"other").image.read_bytes()
    assert one != other


def test_the_facts_are_facts_and_survive_json(build, file_entry):
    built = build(filler(10, file_entry))
    facts = built.facts
    assert facts.size == built.image.stat().st_size == 64 * MIB
    assert 10 * MIB <= facts.content_size < 11 * MIB
    assert facts.minimum_size == minimum_disk(facts) == 64 * MIB
    assert from_json(RootfsFacts, json.loads(json.dumps(to_json(facts)))) == facts


def test_the_image_is_private_and_takes_no_room_it_does_not_need(build, file_entry):
    built = build(lambda: iter([file_entry(b"f", b"x")]), size=8 << 30)
    assert built.image.stat().st_mode & 0o777 == 0o600
    assert built.image.stat().st_size == 8 << 30
    assert built.image.stat().st_blocks * 512 < 16 * MIB


def test_what_later_layers_remove_is_not_in_the_image(build, file_entry, fsck):
    secret = b"TOP SECRET " * 5000

    def base():
        yield file_entry(b"secret", secret)
        yield file_entry(b"replaced", secret)
        yield file_entry(b"dir/secret", secret)
        yield file_entry(b"kept", b"public")

    def later():
        yield Entry(b"secret", K.WHITEOUT)
        yield file_entry(b"replaced", b"new")
        yield Entry(b"dir", K.OPAQUE)

    built = build(base, later)
    fsck(built.image)
    assert b"TOP SECRET" not in built.image.read_bytes()
    assert built.tree()[b"kept"].content() == b"public"
    assert b"TOP SECRET" in build(base, name="base").image.read_bytes()


def test_removed_content_is_overwritten_where_holes_cannot_be_punched(
    build, file_entry, fsck, monkeypatch
):
    monkeypatch.setattr("banger_core.rootfs.ext4.blocks._PUNCH", 0x80)
    built = build(
        lambda: iter([file_entry(b"f", b"TOP SECRET" * 50_000)]),
        lambda: iter([Entry(b"f", K.WHITEOUT)]),
    )
    fsck(built.image)
    assert b"TOP SECRET" not in built.image.read_bytes()


def test_room_of_removed_files_is_used_again_when_there_is_no_other(build, file_entry, fsck):
    layers = [filler(30, file_entry) for _ in range(6)]
    built = build(*layers)
    fsck(built.image)
    assert built.facts.size == 64 * MIB
    assert built.tree()[b"big"].content() == random.Random(3).randbytes(MIB) * 30


def test_a_size_that_is_too_small_says_one_that_is_enough(build, file_entry, tmp_path, fsck):
    with pytest.raises(UsageProblem) as caught:
        build(filler(100, file_entry))
    assert list(tmp_path.iterdir()) == []
    hint = caught.value.hints[0]
    assert hint.startswith("--disk-size ")
    needed = parse_size(hint.split()[1])
    assert 100 * MIB < needed < 150 * MIB
    fsck(build(filler(100, file_entry), size=needed).image)


def test_more_inodes_than_usual_fit_into_the_size_that_was_asked_for(build, file_entry, fsck):
    built = build(lambda: (file_entry(b"%d" % n) for n in range(12_000)))
    fsck(built.image)
    assert (built.facts.size, built.facts.inodes) == (64 * MIB, 12_011)
    assert len(built.tree()) == 12_001


def test_without_a_size_it_grows_until_everything_fits(build, file_entry, fsck, monkeypatch):
    monkeypatch.setattr("banger_core.rootfs.build.DEFAULT_SIZE", 64 * MIB)
    opened = []

    def counted():
        opened.append(1)
        yield from filler(150, file_entry)()

    built = build(counted, size=None)
    fsck(built.image)
    assert built.facts.size == 256 * MIB
    assert len(opened) == 2
    assert built.tree()[b"big"].size == 150 * MIB


@pytest.mark.parametrize("size", [0, 4096, 64 * MIB - 1, -5])
def test_sizes_below_the_floor_are_refused(build, file_entry, size, tmp_path):
    with pytest.raises(UsageProblem, match="too small"):
        build(lambda: iter([]), size=size)
    assert list(tmp_path.iterdir()) == []


def test_an_image_of_no_layers_is_an_empty_root(build, fsck):
    built = build()
    fsck(built.image)
    assert list(built.tree()) == [b""]


def test_progress_is_told_and_can_stop_everything(build, file_entry, tmp_path):
    seen = []
    build(filler(20, file_entry), name="whole", progress=lambda *told: seen.append(told))
    assert seen[0][0] == "writing the root file system"
    assert seen[-1][0] == "checking the file system"
    assert len(seen) > 4
    for stop_at in range(1, len(seen) + 1):
        steps = itertools.count(1)

        def progress(what, done, total, steps=steps, stop_at=stop_at):
            if next(steps) == stop_at:
                raise Interrupted("stopped")

        with pytest.raises(Interrupted):
            build(filler(20, file_entry), name="stopped", progress=progress)
        assert [place.name for place in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize("problem", [HostileInput("no"), IntegrityError("no"), KeyError("bug")])
def test_a_layer_that_fails_leaves_nothing_and_keeps_its_error(
    build, file_entry, tmp_path, problem
):
    def layer():
        yield file_entry(b"f", b"x" * MIB)
        raise problem

    with pytest.raises(type(problem)) as caught:
        build(layer)
    assert caught.value is problem
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_its_content_is_refused(build, tmp_path):
    with pytest.raises(IntegrityError):
        build(lambda: iter([Entry(b"f", K.FILE, size=10)]))
    assert list(tmp_path.iterdir()) == []


def test_an_older_image_of_that_name_stays_until_the_new_one_is_whole(build, file_entry, tmp_path):
    (tmp_path / "root.ext4").write_bytes(b"old")
    with pytest.raises(HostileInput):
        build(lambda: iter([Entry(b"../x", K.FIFO)]))
    assert (tmp_path / "root.ext4").read_bytes() == b"old"
    assert build(lambda: iter([])).image.stat().st_size == 64 * MIB


@pytest.mark.parametrize("first", [0, 1, 4, -1])
def test_a_full_disk_is_said_and_leaves_nothing(build, file_entry, tmp_path, monkeypatch, first):
    calls = itertools.count()
    most = sys.maxsize

    def failing(real):
        def write(*arguments):
            if next(calls) >= most:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)

        return write

    for name in ("pwrite", "pwritev"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    build(filler(40, file_entry)).image.unlink()
    most, calls = first % next(calls), itertools.count()
    with pytest.raises(NoSpace) as caught:
        build(filler(40, file_entry))
    assert str(tmp_path) in caught.value.summary
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_really_full(file_entry, tmp_path, open_layers):
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(place)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system; the test above simulates one")
    try:
        for megabytes in (12, 40):
            layers = open_layers(filler(megabytes, file_entry))
            with pytest.raises(NoSpace):
                build_rootfs(layers, place / "root.ext4", size=64 * MIB, identity=b"x")
            assert list(place.iterdir()) == []
        layers = open_layers(filler(1, file_entry))
        build_rootfs(layers, place / "root.ext4", size=64 * MIB, identity=b"x")
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("name", ["mke2fs", "tune2fs", "e2fsck", "resize2fs"])
def test_a_missing_program_is_named_with_its_package(build, tmp_path, monkeypatch, name):
    which = packages.shutil.which
    monkeypatch.setattr(
        packages.shutil,
        "which",
        lambda wanted, **more: None if wanted == name else which(wanted, **more),
    )
    with pytest.raises(HostNotReady) as caught:
        build(lambda: iter([]))
    assert name in caught.value.summary
    assert "e2fsprogs" in caught.value.hints[0]
    assert list(tmp_path.iterdir()) == []


def test_the_programs_are_found_without_the_administrators_path(build, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("MKE2FS_CONFIG", "/nonexistent")
    assert build(lambda: iter([])).image.exists()


def test_an_image_that_e2fsck_would_have_to_mend_is_never_published(build, tmp_path, monkeypatch):
    monkeypatch.setattr("banger_core.rootfs.ext4.writer._links", lambda _: 77)
    with pytest.raises(BangerError, match="damaged"):
        build(lambda: iter([Entry(b"d", K.DIRECTORY)]))
    assert list(tmp_path.iterdir()) == []


attributes = st.dictionaries(
    st.sampled_from([b"user.a", b"user.long_name_of_it", b"security.selinux", b"trusted.t"]),
    st.binary(max_size=200),
    max_size=4,
)
names = st.binary(min_size=1, max_size=60).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
contents = st.one_of(
    st.lists(st.one_of(st.binary(max_size=9000), st.integers(0, 20_000)), max_size=6),
    st.just([b"x" * 100_000]),
)
metadata = st.fixed_dictionaries(
    {
        "mode": st.integers(0, 0o7777),
        "uid": st.integers(0, 2**32 - 2),
        "gid": st.integers(0, 2**32 - 2),
        "mtime_ns": st.integers(-(2**31) * 10**9, (2**34 - 2**31) * 10**9 - 1),
        "xattrs": attributes,
    }
)


@st.composite
def nodes(draw):
    fields = draw(metadata)
    kind = draw(st.sampled_from([K.FILE, K.FILE, K.SYMLINK, K.CHAR, K.BLOCK, K.FIFO, K.DIRECTORY]))
    if kind is K.FILE:
        fields["data"] = draw(contents)
    elif kind is K.SYMLINK:
        alphabet = st.characters(codec="ascii", exclude_characters='\0"\n')
        fields["link"] = draw(st.text(alphabet, min_size=1, max_size=200)).encode()
    elif kind in (K.CHAR, K.BLOCK):
        fields["rdev"] = draw(st.tuples(st.integers(0, 4095), st.integers(0, (1 << 20) - 1)))
    return kind, fields


def entry_of(path, kind, fields):
    data = fields.get("data")
    more = {key: value for key, value in fields.items() if key != "data"}
    if data is not None:
        size = sum(piece if isinstance(piece, int) else len(piece) for piece in data)
        more |= {"size": size, "data": iter(data)}
    return Entry(path, kind, **more)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)
@given(tree=st.dictionaries(st.tuples(names, names), nodes(), max_size=8))
def test_any_tree_is_read_back_as_it_was_given(tree, build, fsck):
    tree = {b"/".join(path): node for path, node in tree.items() if path[0] != b"lost+found"}

    def layer():
        for path, (kind, fields) in tree.items():
            yield entry_of(path, kind, fields)

    built = build(layer)
    fsck(built.image)
    found = built.tree()
    again = build(layer, name="again")
    assert built.image.read_bytes() == again.image.read_bytes()
    assert set(found) == {b""} | {part for path in tree for part in (path, path.partition(b"/")[0])}
    for path, (kind, fields) in tree.items():
        one = found[path]
        assert one.kind is kind
        assert one.mode == (0o777 if kind is K.SYMLINK else fields["mode"])
        assert (one.uid, one.gid, one.mtime_ns) == (
            fields["uid"], fields["gid"], fields["mtime_ns"],
        )  # fmt: skip
        assert one.xattrs == fields["xattrs"]
        assert one.target == fields.get("link", b"")
        assert one.rdev == fields.get("rdev", (0, 0))
        if kind is K.FILE:
            assert one.content() == b"".join(bytes(piece) for piece in fields["data"])
