"""``docker-archive://FILE[:REF]``: what ``docker save`` and ``skopeo copy`` write.

A tar, maybe compressed, with ``manifest.json`` (Docker image specification 1.2, "combined image
JSON and filesystem changeset format"), or with an OCI layout inside. The archive is read from
front to back: once to know what is in it, once more to take the layers that are wanted.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from banger_core.api import (
    HostileInput,
    Ingest,
    IntegrityError,
    NotFound,
    UsageProblem,
    in_thread,
)
from banger_oci.documents import (
    DOCUMENT_LIMIT,
    Descriptor,
    Index,
    parse_configuration,
    parse_document,
)
from banger_oci.layers import closed
from banger_oci.layout import select
from banger_oci.mediatypes import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from banger_oci.members import Contents, content, read_contents, walk
from banger_oci.reference import parse_reference
from banger_oci.strictjson import read_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from banger_core.api import Context, Entry
    from banger_oci.blobs import BlobStore
    from banger_oci.platforms import Platform

Report = Callable[[Descriptor, int], None]
"""A blob, and how many bytes of it are done."""

_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_ID = re.compile(r"[0-9a-f]{12,64}")
_STEP = 4 << 20
_MAX_IMAGES = 1000
_MAX_LAYERS = 500
_MAX_NAME = 4096


@dataclass(frozen=True, slots=True)
class Saved:
    """One image of ``manifest.json``: names of files, and what the image was called."""

    config: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]

    @property
    def id(self) -> str:
        """The image's id, as far as the name of its configuration says it."""
        return self.config.rpartition("/")[2].removesuffix(".json")


class Archive:
    """The images in one archive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._contents = Contents()
        self._documents: dict[str, bytes] = {}
        self.members: dict[str, str] = {}

    async def open(self, which: str, platform: Platform) -> tuple[bytes, str]:
        """Read the archive; return the index or manifest of the image ``which`` and its media
        type. ``members`` then says for each digest of a layer which file it is.

        ``which`` is a reference or the beginning of an id; an archive with one image needs none.
        Raises NotFound with what there is, UsageProblem, HostileInput and IntegrityError.
        """
        stop = threading.Event()
        self._contents = await in_thread(read_contents, self._path, stop, on_cancel=stop.set)
        contents = self._contents
        if (data := contents.documents.get("manifest.json")) is not None:
            return self._manifest(_choose(_images(data), which, self._path)), OCI_MANIFEST
        if (data := contents.documents.get("index.json")) is not None:
            self.members = {f"sha256:{found[1]}": name for name, found in self._blobs()}
            index = parse_document(data, OCI_INDEX)
            if not isinstance(index, Index):
                raise HostileInput(f"the index.json in {self._path} is no index")
            meant = select(index, which, platform, f"docker-archive://{self._path}")
            return self.document(meant), meant.media_type
        raise UsageProblem(
            f"{self._path} holds no image",
            cause="it has neither manifest.json nor index.json",
            hints=["docker save -o FILE.tar REF makes one"],
        )

    def document(self, blob: Descriptor) -> bytes:
        """Return an index, manifest or configuration, which the caller verifies. Raises
        IntegrityError when it is not there.
        """
        if blob.digest in self._documents:
            return self._documents[blob.digest]
        name = self._contents.resolve(f"blobs/{blob.digest.replace(':', '/')}")
        try:
            return self._contents.documents[name]
        except KeyError:
            raise HostileInput(f"{name} in {self._path} is no JSON document") from None

    def _blobs(self) -> Iterator[tuple[str, re.Match[str]]]:
        for name in self._contents.members:
            if found := _BLOB.fullmatch(name):
                yield name, found

    def _manifest(self, image: Saved) -> bytes:
        """Make the OCI manifest of an image that has none."""
        contents = self._contents
        name = contents.resolve(image.config)
        config = contents.documents.get(name)
        if config is None:
            raise HostileInput(f"the image's configuration in {self._path} is no JSON document")
        diff_ids = parse_configuration(config).diff_ids
        if len(diff_ids) != len(image.layers):
            raise HostileInput(
                f"{self._path} contradicts itself",
                cause=f"{len(image.layers)} layers, {len(diff_ids)} digests of layers",
            )
        config_digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        self._documents[config_digest] = config
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor(OCI_CONFIG, config_digest, len(config)),
            "layers": [
                self._layer(member, diff_id)
                for member, diff_id in zip(image.layers, diff_ids, strict=True)
            ],
        }
        return json.dumps(manifest, indent=1).encode()

    def _layer(self, name: str, diff_id: str) -> dict[str, Any]:
        name = self._contents.resolve(name)
        member = self._contents.members[name]
        found = _BLOB.fullmatch(name)
        digest = f"sha256:{found[1]}" if found else member.digest or diff_id
        known = member.compression in ("gzip", "zstd")
        media_type = f"{OCI_LAYER}+{member.compression}" if known else OCI_LAYER
        self.members[digest] = name
        return _descriptor(media_type, digest, member.size)


async def copy_layers(
    path: Path,
    members: Mapping[str, str],
    layers: Iterable[Descriptor],
    store: BlobStore,
    cx: Context,
) -> None:
    """Copy layers out of the archive ``path`` into the cache, verified, in one pass.

    ``members`` maps their digests to names in the archive. What the cache has already is told as
    complete. Raises IntegrityError when one is missing or not what was pinned, NoSpace, and
    whatever ``cx.progress`` raises.
    """
    wanted = {blob.digest: blob for blob in layers}
    names = {
        digest: f"layer {number}/{len(wanted)} {digest[7:19]}"
        for number, digest in enumerate(wanted, 1)
    }
    missing = [blob for blob in wanted.values() if not store.has(blob)]
    for blob in wanted.values():
        if blob not in missing:
            cx.progress(names[blob.digest], blob.size, blob.size)
    if not missing:
        return
    by_member = {members.get(blob.digest, ""): blob for blob in missing}
    stop = threading.Event()

    def report(blob: Descriptor, done: int) -> None:
        cx.progress(names[blob.digest], done, blob.size)

    async with store.hold(wanted):
        await in_thread(
            _copy, path, by_member, store.root / "blobs", report, stop, on_cancel=stop.set
        )


def _copy(
    path: Path,
    members: dict[str, Descriptor],
    into: Path,
    report: Report,
    stop: threading.Event,
) -> None:
    with closed(walk(path, stop)) as entries:
        for name, entry in entries:
            blob = members.pop(name, None)
            if blob is not None:
                try:
                    _ingest(entry, blob, into, report)
                except IntegrityError as problem:
                    raise IntegrityError(
                        f"{name[:100]!r} in {path} is damaged, or the archive was changed",
                        cause=problem.cause or problem.summary,
                        hints=["make the archive again, for example with docker save"],
                    ) from problem
            if not members:
                return
    raise IntegrityError(
        f"{path} was changed since it was looked at",
        cause=f"it does not hold {next(iter(members))[:100]!r} any more",
        hints=["run the same command again"],
    )


def _ingest(entry: Entry, blob: Descriptor, into: Path, report: Report) -> None:
    done = told = 0
    with Ingest(into, blob.digest, blob.size) as ingest:
        for piece in content(entry):
            ingest.write(piece)
            done += len(piece)
            if done - told >= _STEP:
                told = done
                report(blob, done)
        ingest.commit()
    report(blob, done)


def _images(data: bytes) -> Sequence[Saved]:
    """Read ``manifest.json``. Raises HostileInput for anything that is none."""
    # A list, where the reader of documents wants an object
    listed = read_object(b'{"images":%b}' % data, "manifest.json", DOCUMENT_LIMIT + 16)
    images = [
        Saved(
            config=one.text("Config"),
            tags=one.texts("RepoTags", count=_MAX_IMAGES, limit=_MAX_NAME),
            layers=one.texts("Layers", count=_MAX_LAYERS, limit=_MAX_NAME),
        )
        for one in listed.each("images", limit=_MAX_IMAGES)
    ]
    if not images:
        raise listed.malformed("images", "is empty")
    return images


def _choose(images: Sequence[Saved], which: str, path: Path) -> Saved:
    if not which and len(images) == 1:
        return images[0]
    known = [name for image in images for name in image.tags or (image.id[:12],)]
    if not which:
        raise UsageProblem(
            f"{path} holds {len(images)} images: which one?",
            cause=f"there is: {', '.join(repr(name)[1:-1][:80] for name in known[:8])}",
            hints=[f"docker-archive://{path}:{repr(known[0])[1:-1][:80]}"],
        )
    for image in images:
        if any(_same(tag, which) for tag in image.tags):
            return image
    by_id = [one for one in images if _ID.fullmatch(which) and one.id.startswith(which)]
    if len(by_id) == 1:
        return by_id[0]
    shown = [repr(name)[1:-1][:80] for name in known]
    raise NotFound("image", which, shown, hints=[f"docker-archive://{path}:{shown[0]}"])


def _same(tag: str, which: str) -> bool:
    try:
        return parse_reference(tag) == parse_reference(which)
    except UsageProblem:
        return tag == which


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}
