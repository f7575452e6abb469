"""The two small files that make the cache an OCI image layout (image-layout.md, 1.0 and 1.1)."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from banger_core.api import HostileInput, write_atomic
from banger_oci.documents import Manifest, parse_document
from banger_oci.mediatypes import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)

if TYPE_CHECKING:
    from pathlib import Path

    from banger_oci.documents import Descriptor

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation that names an entry of ``index.json``."""

_DIGEST = re.compile(r"([a-z0-9]+(?:[.+_-][a-z0-9]+)*):([A-Za-z0-9=_-]+)")
_WORDS = {
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_LAYER: OCI_LAYER,
    f"{DOCKER_LAYER}.gzip": f"{OCI_LAYER}+gzip",
    f"{DOCKER_LAYER}.zstd": f"{OCI_LAYER}+zstd",
}


def present(root: Path) -> bool:
    """Say whether ``root`` has both files."""
    return (root / "oci-layout").is_file() and (root / "index.json").is_file()


def create(root: Path) -> None:
    """Write what is not there. Under the lock of the cache, as all that writes here."""
    if not (root / "index.json").is_file():
        _write(root, {})
    if not (root / "oci-layout").is_file():
        write_atomic(root / "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}))


def name(root: Path, called: str, entry: dict[str, Any]) -> None:
    """Add an entry; those that were ``called`` so go, all others stay as they are."""
    index = _read(root)
    others = [other for other in index["manifests"] if _name_of(other) != called]
    _write(root, index | {"manifests": [*others, entry]})


def forget_absent(root: Path) -> None:
    """Drop the entries whose manifest is not here any more."""
    index = _read(root)
    here = [entry for entry in index["manifests"] if _is_here(root, entry)]
    if len(here) != len(index["manifests"]):
        _write(root, index | {"manifests": here})


def entry_for(called: str, manifest: Descriptor) -> dict[str, Any]:
    """Return what ``index.json`` says about a manifest."""
    entry: dict[str, Any] = {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.size,
        "annotations": {**manifest.annotations, REF_NAME: called},
    }
    if manifest.platform:
        entry["platform"] = {
            "os": manifest.platform.os,
            "architecture": manifest.platform.architecture,
        }
        if manifest.platform.variant:
            entry["platform"]["variant"] = manifest.platform.variant
    return entry


def in_oci_words(document: bytes) -> tuple[bytes, str]:
    """Return a Docker manifest as an OCI one, and its digest: the same blobs, other media types.

    skopeo and umoci take nothing else from an OCI layout. Raises HostileInput for what is no
    Docker manifest.
    """
    manifest = parse_document(document, DOCKER_MANIFEST)
    if not isinstance(manifest, Manifest):
        raise HostileInput("the image's manifest is no manifest of Docker's")
    words = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _reference(manifest.config),
        "layers": [_reference(layer) for layer in manifest.layers],
    }
    data = json.dumps(words, separators=(",", ":")).encode()
    return data, f"sha256:{hashlib.sha256(data).hexdigest()}"


def _reference(blob: Descriptor) -> dict[str, Any]:
    kind = _WORDS.get(blob.media_type, blob.media_type)
    words = {"mediaType": kind, "digest": blob.digest, "size": blob.size}
    return words | ({"annotations": dict(blob.annotations)} if blob.annotations else {})


def _read(root: Path) -> dict[str, Any]:
    """Return the index; an empty one for what is unreadable: the blobs are what counts."""
    index: dict[str, Any] = {}
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads((root / "index.json").read_bytes())
        index = found if isinstance(found, dict) else {}
    entries = index.get("manifests")
    return index | {"manifests": entries if isinstance(entries, list) else []}


def _write(root: Path, index: dict[str, Any]) -> None:
    base = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    write_atomic(root / "index.json", json.dumps(base | index))


def _name_of(entry: Any) -> Any:
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    return annotations.get(REF_NAME) if isinstance(annotations, dict) else None


def _is_here(root: Path, entry: Any) -> bool:
    """Say whether an entry names a file; what is no entry names none."""
    digest = entry.get("digest") if isinstance(entry, dict) else None
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) and len(digest) < 255 else None
    return match is not None and (root / "blobs" / match[1] / match[2]).is_file()
