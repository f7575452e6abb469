"""What layers may do to each other, case by case, and what they may not."""

from __future__ import annotations

import pytest

from banger_core.errors import HostileInput
from banger_core.model import Entry, EntryKind
from banger_core.rootfs.names import Limits
from banger_core.rootfs.tree import Tree

K = EntryKind


def merge(*layers, **more):
    tree = Tree(**more)
    for layer in layers:
        tree.begin_layer()
        for entry in layer:
            tree.apply(entry)
    return tree


def listing(tree):
    found, to_do = set(), [(b"", tree.root)]
    while to_do:
        path, node = to_do.pop()
        for name, child in node.children.items():
            full = path + b"/" + name
            found.add(full)
            if child.children is not None:
                to_do.append((full, child))
    return found


def f(path, **more):
    return Entry(path, K.FILE, **more)


def d(path, **more):
    return Entry(path, K.DIRECTORY, **more)


def link(path, target):
    return Entry(path, K.SYMLINK, link=target)


def gone(path):
    return Entry(path, K.WHITEOUT)


def test_a_later_layer_writes_through_a_merged_usr():
    base = [d(b"usr/lib"), link(b"lib", b"usr/lib")]
    tree = merge(base, [f(b"lib/x/module"), f(b"./lib//y")])
    assert listing(tree) == {b"/usr", b"/usr/lib", b"/usr/lib/x", b"/usr/lib/x/module",
                             b"/usr/lib/y", b"/lib"}  # fmt: skip


@pytest.mark.parametrize("target", [b"/../../..", b"../../../..", b"/"])
def test_links_that_lead_out_of_the_root_lead_to_the_root(target):
    assert listing(merge([link(b"out", target), f(b"out/etc/passwd")])) == {
        b"/out", b"/etc", b"/etc/passwd",
    }  # fmt: skip


def test_a_whiteout_spares_what_its_own_layer_made_in_whatever_order():
    base = [f(b"d/old")]
    for layer in ([gone(b"d"), f(b"d/new")], [f(b"d/new"), gone(b"d")]):
        assert listing(merge(base, layer)) == {b"/d", b"/d/new"}


def test_looking_up_a_whiteout_does_not_shield_its_directories():
    base = [f(b"a/b/one"), f(b"a/b/two")]
    assert listing(merge(base, [gone(b"a/b/one"), gone(b"a")])) == set()


def test_an_opaque_directory_hides_only_lower_layers():
    base = [f(b"d/old"), f(b"d/s/old"), f(b"keep")]
    layer = [f(b"d/s/new"), Entry(b"d", K.OPAQUE), f(b"d/late")]
    assert listing(merge(base, layer)) == {b"/d", b"/d/s", b"/d/s/new", b"/d/late", b"/keep"}


def test_a_whiteout_of_a_link_leaves_its_target():
    assert listing(merge([d(b"usr"), link(b"l", b"usr")], [gone(b"l")])) == {b"/usr"}


def test_a_hard_link_made_in_this_layer_survives_the_whiteout_of_its_name():
    base = [f(b"a"), f(b"b")]
    tree = merge(base, [Entry(b"b", K.HARDLINK, link=b"a"), gone(b"b"), gone(b"a")])
    assert listing(tree) == {b"/b"}


def test_a_directory_entry_describes_an_existing_directory_and_keeps_its_files():
    tree = merge([d(b"d", mode=0o700, xattrs={b"user.a": b"1"}), f(b"d/x")], [d(b"d", mode=0o755)])
    node = tree.root.children[b"d"]
    assert (node.mode, dict(node.xattrs), set(node.children)) == (0o755, {}, {b"x"})


def test_the_root_can_be_described_but_not_replaced():
    tree = merge([d(b"/", mode=0o711, uid=5), d(b"./"), d(b"", mode=0o711, uid=5)])
    assert (tree.root.mode, tree.root.uid) == (0o711, 5)
    with pytest.raises(HostileInput, match="root"):
        merge([f(b"./")])
    with pytest.raises(HostileInput):
        merge([gone(b"/")])


def test_a_hard_link_to_a_file_in_what_it_replaces_keeps_the_file():
    tree = merge([f(b"a/x", size=3)], [Entry(b"a", K.HARDLINK, link=b"a/x")])
    assert listing(tree) == {b"/a"}
    assert tree.root.children[b"a"].size == 3


@pytest.mark.parametrize(
    "entries",
    [
        [f(b"../x")],
        [f(b"a/../../x")],
        [f(b"..")],
        [gone(b"../x")],
        [Entry(b"../x", K.OPAQUE)],
        [f(b"a" * 256)],
        [f(b"d/" + b"a" * 256 + b"/x")],
        [f(b"a/" * 513 + b"x")],
        [f(b"a/" * 2048 + b"x")],
        [link(b"a", b"a"), f(b"a/x")],
        [link(b"a", b"b"), link(b"b", b"a"), f(b"a/x")],
        [link(b"a", b"x" * 256), f(b"a/x")],
        [link(b"a", b"")],
        [link(b"a", b"x" * 4096)],
        [Entry(b"a", K.HARDLINK, link=b"nothing")],
        [Entry(b"a", K.HARDLINK, link=b"../../etc/passwd")],
        [Entry(b"a", K.HARDLINK, link=b"")],
        [d(b"d"), Entry(b"a", K.HARDLINK, link=b"d")],
        [f(b"a", uid=-1)],
        [f(b"a", gid=2**32 - 1)],
        [f(b"a", size=-1)],
        [f(b"a", size=1 << 44)],
        [Entry(b"a", K.CHAR, rdev=(4096, 0))],
        [Entry(b"a", K.BLOCK, rdev=(0, 1 << 20))],
        [Entry(b"a", K.CHAR, rdev=(-1, 0))],
    ],
)
def test_hostile_entries_are_refused(entries):
    with pytest.raises(HostileInput) as caught:
        merge(entries)
    assert "\n" not in str(caught.value) + caught.value.cause


def test_amounts_are_bounded():
    with pytest.raises(HostileInput, match="too many files"):
        merge([f(b"%d" % n) for n in range(11)], limits=Limits(max_names=10))
    merge([f(b"same") for n in range(50)], limits=Limits(max_names=10))
    with pytest.raises(HostileInput, match="memory"):
        merge(
            [f(b"x", xattrs={b"user.a": bytes(100)}) for n in range(20)],
            limits=Limits(max_bytes=1000),
        )


def test_names_in_errors_cannot_write_to_the_terminal():
    with pytest.raises(HostileInput) as caught:
        merge([f(b"../\x1b[31m\n" + b"x" * 300)])
    assert "\x1b" not in caught.value.cause
    assert len(caught.value.cause) < 400
