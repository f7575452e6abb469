"""The image source ``oci``: registries, OCI layouts and Docker archives."""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from banger_core.api import (
    ImagePin,
    IntegrityError,
    NotFound,
    UsageProblem,
    in_thread,
)
from banger_oci.blobs import BlobStore
from banger_oci.documents import (
    Descriptor,
    Index,
    check_layers,
    parse_configuration,
    parse_document,
)
from banger_oci.layers import BlobLayer, gone
from banger_oci.local import split_local
from banger_oci.places import place_again, place_of
from banger_oci.platforms import Descent, check_platform, choose, parse_platform
from banger_oci.reference import parse_reference
from banger_oci.settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from banger_core.api import CacheItem, Context, ImageRef, Layer
    from banger_oci.documents import Configuration, Manifest
    from banger_oci.places import Place
    from banger_oci.platforms import Platform

_HELD = 600.0
_NAME_MAX = 255
_NO_NAME = re.compile(r"[^A-Za-z0-9._/:@-]+")


@dataclass(frozen=True, slots=True)
class Found:
    """One image, all its documents read and checked against each other."""

    descriptor: Descriptor
    manifest: Manifest
    configuration: Configuration


class OciImages:
    """The image source of ``oci://REF``, ``oci-layout://DIR[:TAG]`` and
    ``docker-archive://FILE[:REF]``.
    """

    def name(self, ref: ImageRef) -> str:
        """Return Docker's short form of a reference (``python:3.12``), or the name of a directory
        or file with what it is called there (``build:1.0``, ``saved/python:3.12``).
        """
        if ref.scheme in ("", "oci"):
            return parse_reference(ref.rest).familiar
        local = split_local(ref)
        if not local.which:
            return local.name[:_NAME_MAX]
        if ref.scheme == "oci-layout":
            return _shortened(f"{local.name}:{local.which}")
        try:
            return _shortened(f"{local.name}/{parse_reference(local.which).familiar}")
        except UsageProblem:
            return _shortened(f"{local.name}:{local.which}")

    async def resolve(self, ref: ImageRef, cx: Context) -> ImagePin:
        """Pin the manifest that ``ref`` means now for its platform; nothing but documents is
        fetched. A reference with a digest whose documents are in the cache needs no network.

        Raises NotFound for an image or platform that is not there, UsageProblem, Unreachable,
        HostileInput and IntegrityError.
        """
        platform = parse_platform(ref.platform)
        store = await in_thread(BlobStore, cx.cache_dir)
        async with place_of(ref, store, cx) as place:
            found = await _find(place, ref, platform, store)
            where = dict(place.data)
        in_registry = ref.scheme in ("", "oci")
        return ImagePin(
            source="oci",
            ref=f"oci://{parse_reference(ref.rest)}" if in_registry else str(ref),
            name=self.name(ref),
            digest=found.descriptor.digest,
            architecture=found.configuration.platform.architecture,
            size=sum(map(_unpacked, found.manifest.layers)),
            config=found.configuration.image,
            data={
                "place": where,
                "manifest": _plain(found.descriptor),
                "config": _plain(found.manifest.config),
                "layers": [_plain(layer) for layer in found.manifest.layers],
                "diff_ids": list(found.configuration.diff_ids),
            },
        )

    async def fetch(self, pin: ImagePin, cx: Context) -> None:
        """Make all layers local and verified; then keep the cache below its size.

        What was fetched stays until the layers have been read, or for ten minutes. Raises
        Unreachable, IntegrityError, NoSpace and NotFound.
        """
        settings = settings_of(cx)
        store = await in_thread(BlobStore, cx.cache_dir)
        layers = [_blob(one) for one in pin.data["layers"]]
        hold = store.hold(_digests(pin))
        await hold.__aenter__()
        with ExitStack() as stack:
            stack.push(hold)
            if not await in_thread(_all_here, store, layers):
                async with place_again(pin.data["place"], pin.digest, store, cx) as place:
                    await place.bring(layers, cx)
            manifest = _blob(pin.data["manifest"])
            if await in_thread(store.has, manifest):
                await in_thread(store.tag, pin.name, manifest)
            await in_thread(store.prune, settings.cache_size)
            _kept.take(_key(store, pin), stack.pop_all())

    @contextmanager
    def layers(self, pin: ImagePin, cx: Context) -> Iterator[Iterable[Layer]]:
        """Open the layers of a fetched pin, lowest first. Raises HostNotReady when one is not in
        the cache any more.
        """
        store = BlobStore(cx.cache_dir)
        with store.hold(_digests(pin)), ExitStack() as stack:
            opened = []
            for plain, diff_id in zip(pin.data["layers"], pin.data["diff_ids"], strict=True):
                blob = _blob(plain)
                if not store.has(blob):
                    raise gone(pin.ref, f"{blob.digest[:19]} was removed")
                opened.append(BlobLayer(blob, diff_id, store.path(blob.digest), pin.ref, stack))
            yield opened
        # Not after an error: whoever finds the disk too small opens the layers again
        _kept.release(_key(store, pin))

    async def prune(self, cx: Context, *, keep: int, dry_run: bool) -> list[CacheItem]:
        """Remove what was not used for longest until ``keep`` bytes are left, never what a pull
        uses. Returns what went, or with ``dry_run`` what would.
        """
        store = await in_thread(BlobStore, cx.cache_dir)
        return await in_thread(lambda: store.prune(keep, dry_run=dry_run))


class _Kept:
    """Holds on fetched layers that are about to be read. One that nobody comes for (the
    operation failed elsewhere) ends by itself.
    """

    def __init__(self) -> None:
        self._stacks: dict[str, ExitStack] = {}

    def take(self, key: str, stack: ExitStack) -> None:
        """Keep a hold."""
        self.release(key)
        self._stacks[key] = stack
        asyncio.get_running_loop().call_later(_HELD, self._expire, key, stack)

    def release(self, key: str) -> None:
        """End the hold of this name; from any thread."""
        if stack := self._stacks.pop(key, None):
            stack.close()

    def _expire(self, key: str, stack: ExitStack) -> None:
        if self._stacks.get(key) is stack:
            self.release(key)


_kept = _Kept()


async def _find(place: Place, ref: ImageRef, platform: Platform, store: BlobStore) -> Found:
    """Go from the document that the reference names down to one image, and keep the documents."""
    data, media_type = await place.root(platform)
    descent = Descent()
    while True:
        document = parse_document(data, media_type)
        entry = Descriptor(
            media_type=document.media_type,
            digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
            size=len(data),
        )
        await in_thread(store.keep, data, entry.digest)
        descent.follow(entry)
        if not isinstance(document, Index):
            break
        with _naming(ref, platform):
            chosen = choose(document, platform)
        data, media_type = await _document(place, chosen), chosen.media_type
    data = await _document(place, document.config)
    await in_thread(store.keep, data, document.config.digest)
    configuration = parse_configuration(data)
    check_layers(document, configuration)
    with _naming(ref, platform):
        check_platform(configuration.platform, platform)
    return Found(entry, document, configuration)


@contextmanager
def _naming(ref: ImageRef, platform: Platform) -> Iterator[None]:
    """Say which image it is that is not there for a platform."""
    try:
        yield
    except NotFound as problem:
        problem.summary = f"{ref.rest} is not there for {platform}"
        raise


async def _document(place: Place, blob: Descriptor) -> bytes:
    """Return a document, verified. Raises IntegrityError."""
    data = await place.document(blob)
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if found != blob.digest or len(data) != blob.size:
        raise IntegrityError(
            f"{blob.digest[:19]} is not what was announced",
            cause=f"{len(data)} bytes with {found[:19]} came, {blob.size} were announced",
            hints=["try again; when it stays so, tell who runs the registry or made the files"],
        )
    return data


def _all_here(store: BlobStore, layers: Iterable[Descriptor]) -> bool:
    return all(store.has(layer) for layer in layers)


def _digests(pin: ImagePin) -> list[str]:
    blobs = (pin.data["manifest"], pin.data["config"], *pin.data["layers"])
    return list(dict.fromkeys(str(blob["digest"]) for blob in blobs))


def _key(store: BlobStore, pin: ImagePin) -> str:
    return f"{store.root} {pin.digest}"


def _plain(blob: Descriptor) -> dict[str, Any]:
    return {"media_type": blob.media_type, "digest": blob.digest, "size": blob.size}


def _blob(plain: Mapping[str, Any]) -> Descriptor:
    return Descriptor(media_type=plain["media_type"], digest=plain["digest"], size=plain["size"])


def _unpacked(layer: Descriptor) -> int:
    """Estimate what a layer unpacks to, in bytes: common layers to 2.5 times their size."""
    return layer.size if layer.media_type.endswith("tar") else layer.size * 5 // 2


def _shortened(name: str) -> str:
    """A name of an image here, whatever a tag in a file is made of."""
    return _NO_NAME.sub("-", name)[:_NAME_MAX]
