"""Indexes, manifests and image configurations: read from bytes that nobody vouches for.

OCI image specification 1.1 (image-index.md, manifest.md, config.md, descriptor.md) and Docker
image manifest version 2, schema 2. What honest tools do not write is HostileInput; what is well
written, but no image that banger can run, is UsageProblem.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from banger_core.api import ImageConfig, UsageProblem
from banger_oci.imageconfig import parse_image_config
from banger_oci.mediatypes import (
    CONFIG_TYPES,
    DOCUMENT_TYPES,
    INDEX_TYPES,
    LAYER_TYPES,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1_TYPES,
    artifact,
)
from banger_oci.platforms import Platform, normalised
from banger_oci.strictjson import malformed, read_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from banger_oci.strictjson import Fields

__all__ = [
    "DOCUMENT_LIMIT",
    "Configuration",
    "Descriptor",
    "Index",
    "Manifest",
    "Platform",
    "check_layers",
    "parse_configuration",
    "parse_document",
]

DOCUMENT_LIMIT = 4 << 20
"""Longest index, manifest or configuration in bytes, as registries limit them."""

_MANIFESTS_MAX = 1000
_LAYERS_MAX = 500
_ANNOTATIONS_MAX = 1000
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*")
_PLATFORM_PART = re.compile(r"[A-Za-z0-9._-]{0,32}")
_ADVICE = "try another tag, or another image: python:3.12-slim is one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Points to content: what it is, its digest (checked to be ``sha256:HEX``) and its bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    """An image index or manifest list: one image for several platforms."""

    media_type: str
    manifests: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its configuration and its layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """An image's configuration blob. ``diff_ids`` are the digests of the uncompressed layers."""

    platform: Platform
    diff_ids: tuple[str, ...]
    image: ImageConfig


def parse_document(data: bytes, media_type: str) -> Index | Manifest:
    """Read an index or manifest. ``media_type`` is what the transport or the descriptor called
    it; what is no media type of a document (``""``, ``application/json``) says nothing.

    The document's own ``mediaType`` decides, and must contradict neither the transport nor the
    content (CVE-2021-41190). Raises HostileInput, and UsageProblem for what is no image that can
    be used: Docker's schema 1, artifacts, foreign and encrypted layers.
    """
    top = read_object(data, "manifest", DOCUMENT_LIMIT)
    kind = _kind(top, media_type.partition(";")[0].strip().lower())
    if kind in INDEX_TYPES:
        entries = top.each("manifests", limit=_MANIFESTS_MAX)
        manifests = tuple(_descriptor(entry) for entry in entries)
        _check_sizes(top, manifests)
        return Index(kind, manifests)
    return _manifest(top, kind)


def parse_configuration(data: bytes) -> Configuration:
    """Read an image's configuration; its platform is normalised (``arm64/v8`` is ``arm64``).

    Raises HostileInput, and UsageProblem when the image is for another system than Linux.
    """
    top = read_object(data, "configuration", DOCUMENT_LIMIT)
    root = top.inner("rootfs")
    if root is None:
        raise top.malformed("rootfs", "is missing: this configures no image")
    if root.text("type") != "layers":
        raise root.malformed("type", "is not 'layers'")
    diff_ids = root.digests("diff_ids", limit=_LAYERS_MAX)
    return Configuration(_linux(top), diff_ids, parse_image_config(top.inner("config")))


def check_layers(manifest: Manifest, configuration: Configuration) -> None:
    """Raise HostileInput unless the configuration knows as many layers as the manifest has."""
    has, knows = len(manifest.layers), len(configuration.diff_ids)
    if has != knows:
        raise malformed("configuration", f"it knows {knows} layers, the manifest has {has}")


def _kind(top: Fields, told: str) -> str:
    own = top.text("mediaType", default="")
    # Go's readers take "Layers" for "layers"
    names = {name.lower() for name in top}
    index_like, manifest_like = "manifests" in names, not names.isdisjoint({"layers", "config"})
    top.document = "index" if index_like else "manifest"
    _refuse_schema1(top, names, own or told)
    if index_like and manifest_like:
        raise top.malformed("", "it is both an index and a manifest, hence neither")
    if own and told in DOCUMENT_TYPES and own != told:
        raise top.malformed("", f"it says it is {own[:90]!r}, but was sent as {told!r}")
    kind = own or (told if told in DOCUMENT_TYPES else "")
    kind = kind or (OCI_INDEX if index_like else OCI_MANIFEST if manifest_like else "")
    if not kind:
        raise top.malformed("", "it is neither an index nor a manifest")
    if kind not in DOCUMENT_TYPES:
        raise _no_image(kind)
    if (manifest_like and kind in INDEX_TYPES) or (index_like and kind not in INDEX_TYPES):
        raise top.malformed("", f"its content is not what {kind!r} has")
    if top.number("schemaVersion") != 2:
        raise top.malformed("schemaVersion", "is not 2")
    return kind


def _refuse_schema1(top: Fields, names: set[str], kind: str) -> None:
    if top.number("schemaVersion") == 1 or kind in SCHEMA1_TYPES or "fslayers" in names:
        raise UsageProblem(
            "this image is in Docker's schema 1",
            cause="its layers have no digests of their content, and registries have given it up",
            hints=["pull and push it once with a recent Docker, Podman or skopeo"],
        )


def _manifest(top: Fields, kind: str) -> Manifest:
    config = top.inner("config")
    if config is None:
        raise top.malformed("config", "is missing")
    layers = top.each("layers", limit=_LAYERS_MAX)
    configured = _descriptor(config)
    if configured.media_type not in CONFIG_TYPES:
        types = (layer.text("mediaType", default="") for layer in layers[:1])
        raise _no_image(configured.media_type, top.text("artifactType", default=""), *types)
    if configured.size > DOCUMENT_LIMIT:
        raise config.malformed("size", f"is {configured.size}, allowed are {DOCUMENT_LIMIT}")
    if not layers:
        cause = "without a file there is nothing to run"
        raise UsageProblem("this image has no layers", cause=cause, hints=[_ADVICE])
    descriptors = tuple(_layer(layer) for layer in layers)
    _check_sizes(top, (configured, *descriptors))
    return Manifest(kind, configured, descriptors)


def _layer(fields: Fields) -> Descriptor:
    layer = _descriptor(fields)
    kind = layer.media_type
    if kind in LAYER_TYPES:
        return layer
    if "encrypted" in kind:
        raise _unusable("a layer of this image is encrypted", "banger has no keys for it", kind)
    if "nondistributable" in kind or ".foreign." in kind:
        raise _foreign(kind)
    raise _no_image(kind)


def _descriptor(fields: Fields) -> Descriptor:
    digest, size = fields.digest("digest"), fields.size("size")
    media_type = fields.text("mediaType")
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise fields.malformed("mediaType", f"is no media type: {media_type[:80]!r}")
    if "urls" in fields and fields.texts("urls", count=100, limit=4096):
        raise _foreign(media_type)
    inner = fields.inner("platform")
    platform = _platform(inner) if inner else None
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        platform=platform if platform and platform.architecture else None,
        annotations=fields.strings("annotations", count=_ANNOTATIONS_MAX, limit=DOCUMENT_LIMIT),
    )


def _platform(fields: Fields) -> Platform:
    parts = []
    for key in ("os", "architecture", "variant"):
        part = fields.text(key, default="")
        if not _PLATFORM_PART.fullmatch(part):
            raise fields.malformed(key, f"is no part of a platform: {part[:80]!r}")
        parts.append(part)
    return Platform(*parts)


def _linux(top: Fields) -> Platform:
    given = _platform(top)
    platform = normalised(given.os, given.architecture, given.variant)
    if platform.os != "linux":
        raise UsageProblem(
            f"this image is for {platform.os or 'no system at all'}",
            cause="banger runs Linux, and only Linux",
            hints=["--platform linux/amd64", _ADVICE],
        )
    if not platform.architecture:
        raise top.malformed("architecture", "is missing")
    return platform


def _check_sizes(top: Fields, descriptors: Iterable[Descriptor]) -> None:
    sizes: dict[str, int] = {}
    for one in descriptors:
        if sizes.setdefault(one.digest, one.size) != one.size:
            raise top.malformed("", f"it gives two sizes for {one.digest}")


def _no_image(*media_types: str) -> UsageProblem:
    words = artifact(*media_types)
    kinds = [kind for kind in media_types if kind not in {"", OCI_EMPTY}] or [OCI_EMPTY]
    return UsageProblem(
        f"this is no image but {words}" if words else "this is no image that banger knows",
        cause=f"its media type is {kinds[0][:90]!r}",
        hints=[_ADVICE],
    )


def _foreign(kind: str) -> UsageProblem:
    cause = "it lies outside the registry, where nobody answers for it"
    return _unusable("a part of this image may not be distributed", cause, kind)


def _unusable(summary: str, cause: str, kind: str) -> UsageProblem:
    return UsageProblem(summary, cause=f"{cause} ({kind[:90]})", hints=[_ADVICE])
