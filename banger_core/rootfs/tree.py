"""The merge of an image's layers, in memory, oldest first (OCI image specification, layer.md).

No name of an image ever becomes a path on the host: parents are resolved inside the tree through
its own symbolic links, so a later layer may write ``lib/x`` over a base whose ``lib`` is a link,
and nothing can lead outside.
"""

from __future__ import annotations

from collections.abc import Callable

from banger_core.errors import HostileInput
from banger_core.model import Entry, EntryKind
from banger_core.rootfs.names import DOTS, MAX_PATH, Limits, shown, split_path
from banger_core.rootfs.nodes import NO_XATTRS, Directory, Node

MAX_LINK_HOPS = 40
"""As many as the kernel follows (path_resolution(7))."""

MAX_HARD_LINKS = 65_000
"""ext4's limit on the names of one inode."""

_FILE = EntryKind.FILE
_DIRECTORY = EntryKind.DIRECTORY
_SYMLINK = EntryKind.SYMLINK
_DEVICES = (EntryKind.CHAR, EntryKind.BLOCK)


class Tree:
    """A root directory to which layers are applied.

    ``on_free`` is told of every file that no name leads to any more. ``limits`` bound what a
    hostile image can make this process remember.
    """

    def __init__(
        self, on_free: Callable[[Node], None] = lambda _: None, limits: Limits | None = None
    ) -> None:
        self.root = Node(EntryKind.DIRECTORY, 0o755, -1)
        self.root.links = 1
        self._on_free = on_free
        self._limits = limits or Limits()
        self._layer = -1
        self._parents: dict[bytes, Node] = {}
        self._linked: set[tuple[Node, bytes]] = set()
        # Below these nothing of lower layers is left: without that memory, a layer that hides the
        # same directory again and again would take quadratic time
        self._bare: set[Node] = set()

    def begin_layer(self) -> None:
        """Say that the entries from now on belong to the next layer."""
        self._layer += 1
        self._parents.clear()
        self._linked.clear()
        self._bare.clear()
        self.root.layer = self._layer

    def apply(self, entry: Entry) -> Node | None:
        """Apply one entry. Returns the node whose content must follow when it is a file.

        Raises HostileInput for what no honest layer holds: names that leave the root, links to
        nothing, loops, absurd owners, devices or amounts.
        """
        if entry.kind is EntryKind.WHITEOUT:
            self._whiteout(entry.path)
        elif entry.kind is EntryKind.OPAQUE:
            if directory := self._find(split_path(entry.path)):
                self._hide_lower(directory)
        else:
            return self._add(entry)
        return None

    def _add(self, entry: Entry) -> Node | None:
        parent_path, _, name = entry.path.rstrip(b"/").rpartition(b"/")
        if name in DOTS:
            parts = split_path(entry.path)
            if not parts:
                self._set_root(entry)
                return None
            parent_path, name = b"/".join(parts[:-1]), parts[-1]
        elif len(name) > 255:
            raise HostileInput("a name in the image is too long", cause=shown(entry.path))
        elif len(entry.path) > MAX_PATH:
            raise HostileInput("a path in the image is too long", cause=shown(entry.path))
        parent = self._parents.get(parent_path) or self._make_parent(parent_path)
        directory = _entries(parent)
        old = directory.get(name)
        kind = entry.kind
        if kind is EntryKind.HARDLINK:
            self._add_link(entry, parent, name)
            return None
        if kind is _DIRECTORY and old is not None and old.children is not None:
            self._describe(old, entry)
            old.layer = self._layer
            return None
        node = Node(kind, 0, self._layer)
        self._describe(node, entry)
        if old is not None:
            self._drop(directory, name)
        self._put(directory, name, node)
        return node if kind is _FILE else None

    def _set_root(self, entry: Entry) -> None:
        if entry.kind is not EntryKind.DIRECTORY:
            raise HostileInput("the image's root is not a directory", cause=entry.kind.value)
        self._describe(self.root, entry)

    def _add_link(self, entry: Entry, parent: Node, name: bytes) -> None:
        target_parts = split_path(entry.link)
        holder = self._find(target_parts[:-1]) if target_parts else None
        target = _entries(holder).get(target_parts[-1]) if holder else None
        if target is None:
            raise HostileInput(
                "a hard link in the image leads to nothing",
                cause=f"{shown(entry.path)} -> {shown(entry.link)}",
            )
        if target.children is not None:
            raise HostileInput(
                "a hard link in the image leads to a directory", cause=shown(entry.link)
            )
        directory = _entries(parent)
        self._linked.add((parent, name))
        if directory.get(name) is target:
            return
        if target.links >= MAX_HARD_LINKS:
            raise HostileInput(
                f"a file in the image has more than {MAX_HARD_LINKS} hard links",
                cause=f"ext4 cannot hold {shown(entry.link)}",
            )
        # Counted first, so that dropping what had this name cannot free the target
        self._put(directory, name, target, replaces=name in directory)

    def _put(
        self, directory: Directory, name: bytes, node: Node, *, replaces: bool = False
    ) -> None:
        node.links += 1
        if replaces:
            self._drop(directory, name)
        self._limits.count(len(name))
        directory[name] = node

    def _describe(self, node: Node, entry: Entry) -> None:
        """Give ``node`` what the entry says of it."""
        self._limits.check(entry)
        kind = entry.kind
        node.mode = 0o777 if kind is _SYMLINK else entry.mode & 0o7777
        node.uid, node.gid, node.mtime_ns = entry.uid, entry.gid, entry.mtime_ns
        node.xattrs = dict(entry.xattrs) if entry.xattrs else NO_XATTRS
        if kind is _FILE:
            node.size = entry.size
        elif kind is _SYMLINK:
            node.link, node.size = bytes(entry.link), len(entry.link)
        elif kind in _DEVICES:
            node.rdev = entry.rdev

    # --- finding parents ---------------------------------------------------------------------

    def _make_parent(self, path: bytes) -> Node:
        """Return the directory ``path``, made now where it is missing, and remember it."""
        found = self._walk(split_path(path), create=True)
        assert found is not None
        self._parents[path] = found
        return found

    def _find(self, parts: list[bytes]) -> Node | None:
        """Return the directory at ``parts``, None when there is none.

        Looking does not count as touching: a whiteout must not shield what lies on its way from
        a later whiteout of the same layer.
        """
        return self._walk(parts, create=False)

    def _walk(self, parts: list[bytes], *, create: bool) -> Node | None:
        above = [self.root]
        to_go = parts[::-1]
        hops = 0
        while to_go:
            name = to_go.pop()
            if name == b"..":
                if len(above) > 1:
                    above.pop()
                continue
            here = _entries(above[-1])
            node = here.get(name)
            if node is not None and node.kind is _SYMLINK:
                hops += 1
                if hops > MAX_LINK_HOPS:
                    raise HostileInput(
                        "symbolic links in the image lead in a circle",
                        cause=shown(b"/".join(parts)),
                    )
                if node.link.startswith(b"/"):
                    del above[1:]
                to_go.extend(
                    part for part in node.link.split(b"/")[::-1] if part not in (b"", b".")
                )
                continue
            if node is None or node.children is None:
                if not create:
                    return None
                node = self._make_directory(here, name)
            if create:
                node.layer = self._layer
            above.append(node)
        return above[-1]

    def _make_directory(self, here: Directory, name: bytes) -> Node:
        """Make a directory that the archive only implies; a file in its way is replaced."""
        if len(name) > 255:
            raise HostileInput("a name in the image is too long", cause=shown(name))
        if name in here:
            self._drop(here, name)
        node = Node(EntryKind.DIRECTORY, 0o755, self._layer)
        self._put(here, name, node)
        return node

    # --- removing ----------------------------------------------------------------------------

    def _drop(self, directory: Directory, name: bytes) -> None:
        """Take a name away, and everything below it."""
        doomed = [(name, directory.pop(name))]
        while doomed:
            name, node = doomed.pop()
            self._limits.discount(len(name))
            node.links -= 1
            if node.children is not None:
                doomed.extend(node.children.items())
                node.children = {}
                self._parents.clear()
            elif node.kind is _SYMLINK:
                self._parents.clear()
            if node.links == 0:
                self._on_free(node)

    def _whiteout(self, path: bytes) -> None:
        parts = split_path(path)
        if not parts:
            raise HostileInput("a layer removes the root directory")
        parent = self._find(parts[:-1])
        if parent is not None and parts[-1] in _entries(parent):
            self._hide(parent, parts[-1])

    def _hide(self, parent: Node, name: bytes) -> None:
        """Remove ``name`` as far as lower layers made it; what this layer made stays."""
        directory = _entries(parent)
        node = directory[name]
        if node.layer != self._layer and (parent, name) not in self._linked:
            self._drop(directory, name)
        elif node.children is not None:
            self._hide_lower(node)

    def _hide_lower(self, top: Node) -> None:
        to_do = [top]
        while to_do:
            parent = to_do.pop()
            if parent in self._bare:
                continue
            self._bare.add(parent)
            directory = _entries(parent)
            for name in list(directory):
                node = directory[name]
                if node.layer != self._layer and (parent, name) not in self._linked:
                    self._drop(directory, name)
                elif node.children is not None:
                    to_do.append(node)


def _entries(directory: Node) -> Directory:
    assert directory.children is not None
    return directory.children
