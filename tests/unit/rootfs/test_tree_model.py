"""Random stacks of layers against a second, naive implementation of what they mean."""

from __future__ import annotations

import contextlib
import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banger_core.errors import HostileInput
from banger_core.model import Entry, EntryKind
from banger_core.rootfs.build import build_rootfs
from banger_core.rootfs.tree import Tree

K = EntryKind
PLAIN = (K.FILE, K.DIRECTORY, K.SYMLINK, K.FIFO)

names = st.sampled_from([b"a", b"b", b"c"])
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)
targets = st.sampled_from([b"a", b"/a", b"b/c", b"../b", b"/c/a", b"..", b"/", b"nowhere", b"./a"])


@st.composite
def operations(draw):
    kind = draw(st.sampled_from([*PLAIN, K.FILE, K.DIRECTORY, K.HARDLINK, K.WHITEOUT, K.OPAQUE]))
    link = b""
    if kind is K.SYMLINK:
        link = draw(targets)
    elif kind is K.HARDLINK:
        link = draw(paths)
    return kind, draw(paths), link, draw(st.integers(0, 0o7777))


stacks = st.lists(st.lists(operations(), max_size=8), min_size=1, max_size=4)


class Refused(Exception):
    pass


class Model:
    """A dictionary of whole paths; slow, and with nothing in common with the tree."""

    def __init__(self):
        self.files = {}  # path -> (inode, kind, payload, mode)
        self.touched = set()
        self.inodes = count()

    def below(self, path):
        return [other for other in self.files if other.startswith(path + "/")]

    def remove(self, path):
        for other in [*self.below(path), path]:
            self.files.pop(other, None)
            self.touched.discard(other)

    def hide(self, candidates):
        for path in candidates:
            if not any(kept == path or kept.startswith(path + "/") for kept in self.touched):
                self.remove(path)

    def resolve(self, path, *, create):
        """The directory that ``path`` is, as an absolute path without links; None if missing."""
        done, to_do, hops = "", path.split("/"), 0
        while to_do:
            part = to_do.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            here = f"{done}/{part}"
            kind = self.files.get(here, (None, None))[1]
            if kind is K.SYMLINK:
                hops += 1
                if hops > 40:
                    raise Refused
                link = self.files[here][2]
                done = "" if link.startswith("/") else done
                to_do = link.split("/") + to_do
                continue
            if kind is not K.DIRECTORY:
                if not create:
                    return None
                self.remove(here)
                self.files[here] = (next(self.inodes), K.DIRECTORY, "", 0o755)
            if create:
                self.touched.add(here)
            done = here
        return done

    def apply(self, kind, path, link, mode):
        if kind is K.OPAQUE:
            directory = self.resolve(path, create=False)
            if directory is not None:
                self.hide(self.below(directory))
            return
        parent, _, name = path.rpartition("/")
        directory = self.resolve(parent, create=kind is not K.WHITEOUT)
        here = f"{directory}/{name}"
        if kind is K.WHITEOUT:
            if directory is not None and here in self.files:
                self.hide([*self.below(here), here])
            return
        old = self.files.get(here)
        if kind is K.HARDLINK:
            self.link(here, link)
            return
        if kind is K.DIRECTORY and old and old[1] is K.DIRECTORY:
            self.files[here] = (old[0], kind, "", mode)
        else:
            self.remove(here)
            shown = 0o777 if kind is K.SYMLINK else mode
            self.files[here] = (next(self.inodes), kind, link, shown)
        self.touched.add(here)

    def link(self, here, link):
        parent, _, name = link.rpartition("/")
        directory = self.resolve(parent, create=False)
        target = self.files.get(f"{directory}/{name}") if directory is not None else None
        if target is None or target[1] is K.DIRECTORY:
            raise Refused
        if self.files.get(here) != target:
            self.remove(here)
            self.files[here] = target
        self.touched.add(here)

    def shape(self):
        """Path to kind, mode, payload, and the names that share its inode."""
        return {
            path: (
                kind,
                mode,
                payload,
                frozenset(other for other in self.files if self.files[other][0] == inode),
            )
            for path, (inode, kind, payload, mode) in self.files.items()
        }


def model_of(stack):
    model, serial = Model(), count()
    for layer in stack:
        model.touched.clear()
        for kind, path, link, mode in layer:
            number = str(next(serial))
            payload = number if kind is K.FILE else link.decode()
            model.apply(kind, path.decode(), payload, mode)
    return model.shape()


def layers_of(stack):
    """The same as entries; the content of a file, and its time, say which operation made it."""
    serial = count()
    numbered = [[(next(serial), *operation) for operation in layer] for layer in stack]
    return [lambda layer=layer: (entry_of(*operation) for operation in layer) for layer in numbered]


def entry_of(number, kind, path, link, mode):
    content = b"%d" % number if kind is K.FILE else b""
    entry = Entry(path, kind, mode=mode, link=link, mtime_ns=number, size=len(content))
    entry.data = iter([content])
    return entry


def tree_of(stack):
    tree = Tree()
    for layer in layers_of(stack):
        tree.begin_layer()
        for entry in layer():
            tree.apply(entry)
    return tree


def payload_of(node):
    return str(node.mtime_ns) if node.kind is K.FILE else node.link.decode()


def shape_of(tree):
    found, by_node = {}, {}
    to_do = [("", tree.root)]
    while to_do:
        path, node = to_do.pop()
        for name, child in node.children.items():
            full = f"{path}/{name.decode()}"
            found[full] = child
            by_node.setdefault(id(child), set()).add(full)
            if child.children is not None:
                to_do.append((full, child))
    for node in found.values():
        assert node.links == len(by_node[id(node)])
    return {
        path: (node.kind, node.mode, payload_of(node), frozenset(by_node[id(node)]))
        for path, node in found.items()
    }


@settings(max_examples=600, deadline=None)
@given(stacks)
def test_the_tree_means_what_the_model_means(stack):
    try:
        expected = model_of(stack)
    except Refused:
        with pytest.raises(HostileInput):
            tree_of(stack)
        return
    assert shape_of(tree_of(stack)) == expected


@settings(max_examples=200, deadline=None)
@given(stacks)
def test_every_file_is_freed_exactly_once_or_is_still_there(stack):
    made, freed = [], []
    tree = Tree(freed.append)
    with contextlib.suppress(HostileInput):
        for layer in layers_of(stack):
            tree.begin_layer()
            made.extend(filter(None, map(tree.apply, layer())))
    alive = set()
    to_do = [tree.root]
    while to_do:
        for child in to_do.pop().children.values():
            alive.add(child)
            if child.children is not None:
                to_do.append(child)
    for node in made:
        assert freed.count(node) == (node not in alive)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(stack=stacks)
def test_the_image_on_disk_is_what_the_model_means(stack, read_image, fsck, open_layers):
    try:
        expected = model_of(stack)
    except Refused:
        return
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory) / "root.ext4"
        opened = open_layers(*layers_of(stack))
        build_rootfs(opened, image, size=64 << 20, identity=b"model")
        fsck(image)
        tree = read_image(image)
        groups = {}
        for path, found in tree.items():
            groups.setdefault(found.inode, set()).add("/" + path.decode())
        shape = {}
        for path, found in tree.items():
            payload = found.content() if found.kind is K.FILE else found.target
            same = frozenset(groups[found.inode])
            shape["/" + path.decode()] = found.kind, found.mode, payload.decode(), same
        del shape["/"]
    assert shape == expected
