"""What a root file system holds, entry by entry, in a form that views of it are compared in."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict

_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link",
    stat.S_IFCHR: "char", stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
}  # fmt: skip


def view_of_tree(tree):
    """The view of what ``oci_ext4.read_tree`` gives."""
    groups = defaultdict(set)
    for path, inode in tree.items():
        groups[inode.number].add(path)
    view = {}
    for path, inode in tree.items():
        view[path] = {
            "kind": inode.kind,
            "mode": stat.S_IMODE(inode.mode),
            "owner": (inode.uid, inode.gid),
            "mtime": inode.mtime_ns,
            "xattrs": inode.xattrs,
        }
        more = {"names": groups[inode.number], "links": inode.links}
        if inode.kind == "file":
            more |= {"size": inode.size, "content": inode.sha256}
        elif inode.kind == "link":
            more |= {"target": inode.target}
        elif inode.kind in ("char", "block"):
            more |= {"device": inode.rdev}
        elif inode.kind == "dir":
            # How many links a directory has differs from file system to file system
            more = {}
        view[path] |= more
    return view


def view_of_directory(root):
    """The view of a directory of this system; what is mounted below it is left out."""
    root = os.fsencode(root)
    disk = os.lstat(root).st_dev
    view, groups = {}, defaultdict(set)
    to_do = [b""]
    while to_do:
        path = to_do.pop()
        place = root + b"/" + path
        found = os.lstat(place)
        if found.st_dev != disk:
            continue
        kind = _KINDS[stat.S_IFMT(found.st_mode)]
        groups[found.st_ino].add(path)
        view[path] = {
            "kind": kind,
            "mode": stat.S_IMODE(found.st_mode),
            "owner": (found.st_uid, found.st_gid),
            "mtime": found.st_mtime_ns,
            "xattrs": {
                os.fsencode(name): os.getxattr(place, name, follow_symlinks=False)
                for name in os.listxattr(place, follow_symlinks=False)
            },
        }
        if kind == "dir":
            below = os.listdir(place)  # noqa: PTH208 - names are bytes
            to_do.extend(path + b"/" + name if path else name for name in below)
            continue
        view[path] |= {"names": groups[found.st_ino], "links": found.st_nlink}
        if kind == "file":
            view[path] |= {"size": found.st_size, "content": _hash(place)}
        elif kind == "link":
            view[path] |= {"target": os.readlink(place)}  # noqa: PTH115 - names are bytes
        elif kind in ("char", "block"):
            view[path] |= {"device": (os.major(found.st_rdev), os.minor(found.st_rdev))}
    return view


def _hash(path):
    with open(path, "rb") as file:  # noqa: PTH123 - names are bytes
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(ours, theirs):
    """Every (path, what, ours, theirs) in which two views differ."""
    for path in sorted({*ours, *theirs}):
        one, other = ours.get(path), theirs.get(path)
        if one is None or other is None:
            yield path, "existence", one, other
            continue
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                yield path, key, one.get(key), other.get(key)
