"""OCI layouts and Docker archives written by hand, with every mistake that a test wants."""

from __future__ import annotations

import io
import json
import tarfile

from oci_archives import Blob, directory, file, sha256, symlink, tar

from banger_oci.mediatypes import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from banger_oci.platforms import host_platform

HOST = host_platform().architecture
FOREIGN = "arm64" if HOST == "amd64" else "amd64"

BASE = tar(
    directory(b"./"), directory(b"./etc/"), file(b"./etc/hostname", b"one\n"), file(b"old", b"x")
)
TOP = tar(file(b"etc/hostname", b"two\n"), file(b".wh.old"), symlink(b"link", b"etc/hostname"))


def layers():
    """Two gzip layers: the upper one replaces, removes and adds a file."""
    return [Blob.of(BASE), Blob.of(TOP)]


def plain(archive):
    """A layer that is not packed."""
    return Blob.of(archive, archive)


def configuration(blobs, architecture=HOST, **config):
    return {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["A=1"], "Cmd": ["/bin/sh"], **config},
        "rootfs": {"type": "layers", "diff_ids": [blob.diff_id for blob in blobs]},
    }


class LayoutMaker:
    """Writes a layout below ``root``."""

    def __init__(self, root):
        self.root, self.entries = root, []
        (root / "blobs" / "sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data, media_type):
        if not isinstance(data, bytes):
            data = json.dumps(data).encode()
        self.path(sha256(data)).write_bytes(data)
        return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}

    def path(self, digest):
        return self.root / "blobs" / "sha256" / digest[7:]

    def image(self, blobs=None, architecture=HOST, media_type=f"{OCI_LAYER}+gzip", **config):
        """Write an image; return its manifest's descriptor."""
        blobs = layers() if blobs is None else blobs
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.blob(configuration(blobs, architecture, **config), OCI_CONFIG),
            "layers": [self.blob(blob.packed, media_type) for blob in blobs],
        }
        return self.blob(manifest, OCI_MANIFEST)

    def index(self, *entries):
        """Write an index that lies among the blobs."""
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
        return self.blob(document, OCI_INDEX)

    def add(self, entry, tag="", architecture=""):
        """List an entry in index.json."""
        if tag:
            entry = {**entry, "annotations": {"org.opencontainers.image.ref.name": tag}}
        if architecture:
            entry = {**entry, "platform": {"os": "linux", "architecture": architecture}}
        self.entries.append(entry)
        document = {"schemaVersion": 2, "manifests": self.entries}
        (self.root / "index.json").write_text(json.dumps(document))
        return entry

    def tar(self, path, mode="w"):
        """Pack the layout into an archive."""
        with tarfile.open(path, mode) as archive:
            for member in sorted(self.root.rglob("*")):
                archive.add(member, member.relative_to(self.root), recursive=False)
        return path


def simple_layout(root, tag="1.0"):
    """A layout with one small image."""
    maker = LayoutMaker(root)
    maker.add(maker.image(), tag)
    return maker


def save(path, images, *, mode="w", extra=()):
    """Write what ``docker save`` wrote before there were layouts in it.

    ``images`` is a list of (tags, blobs); layers are in directories of their own, and a layer that
    was there already is a symbolic link to it. ``extra`` are (name, content) or TarInfo.
    """
    listed, members, seen = [], [], {}
    for number, (tags, blobs) in enumerate(images):
        config = json.dumps(configuration(blobs)).encode()
        names = []
        for at, blob in enumerate(blobs):
            name = f"{number:032x}{at:032x}/layer.tar"
            names.append(name)
            if blob.digest in seen:
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, f"../{seen[blob.digest]}"
                members.append(link)
            else:
                seen[blob.digest] = name
                members.append((name, blob.packed))
        members.append((f"{sha256(config)[7:]}.json", config))
        listed.append({"Config": members[-1][0], "RepoTags": tags, "Layers": names})
    members += [*extra, ("manifest.json", json.dumps(listed).encode())]
    return write_tar(path, members, mode)


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path
