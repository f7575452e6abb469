"""The places where an image may be: a registry, a layout, an archive; all used in one way."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from banger_core.api import HostileInput, IntegrityError, NotFound, in_thread
from banger_oci.archive import Archive, copy_layers
from banger_oci.documents import Descriptor
from banger_oci.download import fetch_all
from banger_oci.layout import Layout
from banger_oci.local import check_kind, split_local
from banger_oci.mediatypes import DOCUMENT_TYPES
from banger_oci.reference import Reference, parse_reference
from banger_oci.registry import Registry
from banger_oci.settings import settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from banger_core.api import Context, ImageRef
    from banger_oci.blobs import BlobStore
    from banger_oci.platforms import Platform


class Place(Protocol):
    """Where one image is. ``data`` is what a pin keeps to find the place again."""

    @property
    def data(self) -> Mapping[str, Any]:
        """Plain JSON."""

    async def root(self, platform: Platform) -> tuple[bytes, str]:
        """Return the index or manifest that the reference names, and its media type."""

    async def document(self, blob: Descriptor) -> bytes:
        """Return an index, manifest or configuration, which the caller verifies."""

    async def bring(self, layers: Sequence[Descriptor], cx: Context) -> None:
        """Make layers local and verified, with progress. Raises what its origin raises."""


class InRegistry:
    """An image in a registry. What the cache has of its documents is not asked for again."""

    def __init__(
        self, registry: Registry, reference: Reference, store: BlobStore, parallel: int
    ) -> None:
        self._registry, self._reference = registry, reference
        self._store, self._parallel = store, parallel

    @property
    def data(self) -> Mapping[str, Any]:
        """Plain JSON."""
        where = self._reference
        return {"kind": "registry", "registry": where.registry, "repository": where.repository}

    async def root(self, platform: Platform) -> tuple[bytes, str]:
        """Return the index or manifest that the reference names, and its media type."""
        del platform
        digest = self._reference.digest
        if digest and (data := await in_thread(_kept, self._store, digest)) is not None:
            return data, ""
        return await self._registry.document(self._reference.selector)

    async def document(self, blob: Descriptor) -> bytes:
        """Return an index, manifest or configuration, which the caller verifies."""
        if (data := await in_thread(_kept, self._store, blob.digest)) is not None:
            return data
        if blob.media_type in DOCUMENT_TYPES:
            data, _ = await self._registry.document(blob.digest)
            return data
        await self._store.fetch(blob, self._registry)
        return await in_thread(self._store.read, blob)

    async def bring(self, layers: Sequence[Descriptor], cx: Context) -> None:
        """Download the layers that the cache does not have."""
        await fetch_all(self._store, self._registry, layers, cx, self._parallel)


class InLayout:
    """An image in a directory."""

    def __init__(self, path: Path, tag: str, store: BlobStore, parallel: int) -> None:
        self._layout, self._path, self._tag = Layout(path), path, tag
        self._store, self._parallel = store, parallel

    @property
    def data(self) -> Mapping[str, Any]:
        """Plain JSON."""
        return {"kind": "layout", "path": str(self._path)}

    async def root(self, platform: Platform) -> tuple[bytes, str]:
        """Return the index or manifest that the reference names, and its media type."""
        meant = await in_thread(self._layout.find, self._tag, platform)
        return await self.document(meant), meant.media_type

    async def document(self, blob: Descriptor) -> bytes:
        """Return an index, manifest or configuration, which the caller verifies."""
        return await in_thread(self._layout.document, blob)

    async def bring(self, layers: Sequence[Descriptor], cx: Context) -> None:
        """Copy the layers that the cache does not have."""
        await fetch_all(self._store, self._layout, layers, cx, self._parallel)


class InArchive:
    """An image in an archive. ``members`` says for each digest of a layer which file it is."""

    def __init__(
        self, path: Path, which: str, store: BlobStore, members: Mapping[str, str] | None = None
    ) -> None:
        self._archive, self._path, self._which = Archive(path), path, which
        self._store, self._members = store, members

    @property
    def data(self) -> Mapping[str, Any]:
        """Plain JSON."""
        members = self._archive.members if self._members is None else self._members
        return {"kind": "archive", "path": str(self._path), "members": dict(members)}

    async def root(self, platform: Platform) -> tuple[bytes, str]:
        """Return the index or manifest that the reference names, and its media type."""
        return await self._archive.open(self._which, platform)

    async def document(self, blob: Descriptor) -> bytes:
        """Return an index, manifest or configuration, which the caller verifies."""
        return self._archive.document(blob)

    async def bring(self, layers: Sequence[Descriptor], cx: Context) -> None:
        """Copy the layers that the cache does not have, in one pass over the archive."""
        await copy_layers(self._path, self.data["members"], layers, self._store, cx)


@asynccontextmanager
async def place_of(ref: ImageRef, store: BlobStore, cx: Context) -> AsyncIterator[Place]:
    """Open the place that ``ref`` names. Raises UsageProblem, and NotFound for a missing path."""
    settings = settings_of(cx)
    if ref.scheme in ("", "oci"):
        reference = parse_reference(ref.rest)
        async with Registry(reference, settings, log=cx.log) as registry:
            yield InRegistry(registry, reference, store, settings.parallel)
        return
    local = await in_thread(split_local, ref)
    await in_thread(check_kind, local, ref)
    if ref.scheme == "oci-layout":
        yield InLayout(local.path, local.which, store, settings.parallel)
    else:
        yield InArchive(local.path, local.which, store)


@asynccontextmanager
async def place_again(
    data: Mapping[str, Any], digest: str, store: BlobStore, cx: Context
) -> AsyncIterator[Place]:
    """Open the place of a pin again; ``digest`` is its manifest's."""
    settings = settings_of(cx)
    if data["kind"] == "registry":
        reference = Reference(data["registry"], data["repository"], "", digest)
        async with Registry(reference, settings, log=cx.log) as registry:
            yield InRegistry(registry, reference, store, settings.parallel)
    elif data["kind"] == "layout":
        yield InLayout(Path(data["path"]), "", store, settings.parallel)
    else:
        yield InArchive(Path(data["path"]), "", store, data["members"])


def _kept(store: BlobStore, digest: str) -> bytes | None:
    """Return a document of the cache, None when it is not there, or not in order."""
    try:
        size = store.path(digest).lstat().st_size
        return store.read(Descriptor(media_type="", digest=digest, size=size))
    except (OSError, NotFound, IntegrityError, HostileInput):
        return None
