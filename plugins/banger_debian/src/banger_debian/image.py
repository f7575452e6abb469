"""The image source ``debian``: root file systems made from the signed archive."""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from banger_core.api import HostNotReady, ImagePin, Unreachable, UsageProblem, in_thread
from banger_debian.archive import Archive
from banger_debian.bootstrap import Recipe, bootstrap
from banger_debian.memory import recall, remember
from banger_debian.reference import DEFAULT_INCLUDE, Reference, parse_reference
from banger_debian.settings import settings_of
from banger_debian.suites import check_architecture, repositories
from banger_debian.tarball import Tarball

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from banger_core.api import Context, ImageRef, Layer

BUILDER = 1
"""Goes up when the same packages give another image."""

_MINBASE_SIZE = 190 << 20
"""Bytes of content of the default image, for planning."""

_locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()


class DebianImages:
    """The image source of ``debian://SUITE[?variant=V&include=A,B]``."""

    def name(self, ref: ImageRef) -> str:
        """Return ``debian-SUITE``, with variant and a digest of further packages when there are."""
        return _name(parse_reference(ref))

    async def resolve(self, ref: ImageRef, cx: Context) -> ImagePin:
        """Pin the package indexes that the image is made from.

        Without a network it is the image that was pinned before, when it is still in the cache.
        Raises NotFound for an unknown suite, variant or package; UsageProblem, Unreachable and
        IntegrityError.
        """
        wanted = parse_reference(ref)
        architecture = check_architecture(platform.machine())
        _check_platform(ref, architecture)
        include = sorted({*DEFAULT_INCLUDE, *settings_of(cx).extra_packages, *wanted.include})
        name = _name(wanted)
        key = f"image-{name}-{architecture}"
        try:
            async with Archive(cx, wanted.suite, architecture) as archive:
                releases = await archive.releases()
                if tuple(include) != DEFAULT_INCLUDE:
                    await archive.versions(include)
            data: dict[str, Any] = {
                "suite": wanted.suite,
                "variant": wanted.variant,
                "include": include,
                "epoch": releases[0].date,
                "indexes": sorted(one.index(architecture).sha256 for one in releases),
            }
        except Unreachable:
            known = recall(cx, key)
            if known is None or known[0].get("include") != include:
                raise
            data = known[0]
            if not _tarball(_digest(data, architecture), cx).is_here():
                raise
            cx.log.warning("%s: no answer from the mirror, using the one in the cache", ref)
        else:
            remember(cx, key, data)
        return ImagePin(
            source="debian",
            ref=str(ref),
            name=name,
            digest=_digest(data, architecture),
            architecture=architecture,
            size=_MINBASE_SIZE if wanted.variant == "minbase" else 0,
            data=data,
        )

    async def fetch(self, pin: ImagePin, cx: Context) -> None:
        """Make the image with mmdebstrap, unless the cache has it.

        Raises HostNotReady, Unreachable, NoSpace, and IntegrityError when the archive is not the
        pinned one any more.
        """
        tarball = _tarball(pin.digest, cx)
        async with _locks.setdefault(tarball.path, asyncio.Lock()):
            if tarball.is_here():
                return
            settings = settings_of(cx)
            recipe = Recipe(
                suite=pin.data["suite"],
                variant=pin.data["variant"],
                include=tuple(pin.data["include"]),
                architecture=pin.architecture,
                epoch=pin.data["epoch"],
                indexes=frozenset(pin.data["indexes"]),
            )
            with tarball.incoming() as new:
                await bootstrap(recipe, repositories(recipe.suite, settings), settings, new, cx)
                await in_thread(tarball.keep, new)

    @contextmanager
    def layers(self, pin: ImagePin, cx: Context) -> Iterator[Iterable[Layer]]:
        """Open the image's one layer. Raises HostNotReady when it was not fetched."""
        tarball = _tarball(pin.digest, cx)
        if not tarball.is_here():
            raise HostNotReady(
                f"{pin.ref} is not in the cache any more",
                cause="the cache was emptied meanwhile",
                hints=[f"banger image pull {pin.ref}"],
            )
        with tarball.path.open("rb") as file:
            yield [tarball.layer(file)]


def _check_platform(ref: ImageRef, architecture: str) -> None:
    """Refuse another platform than this host's: its packages are configured by running them."""
    if ref.platform not in ("", architecture, f"linux/{architecture}"):
        raise UsageProblem(
            f"{ref} cannot be made for {ref.platform[:100]!r}",
            cause=f"its packages run while they are set up, and this host is linux/{architecture}",
            hints=[f"banger image pull {ref}"],
        )


def _tarball(digest: str, cx: Context) -> Tarball:
    return Tarball(cx.cache_dir, digest)


def _digest(data: Mapping[str, Any], architecture: str) -> str:
    """Hash everything that decides the content; which mirror serves it does not."""
    content = json.dumps({"builder": BUILDER, "architecture": architecture, **data}, sort_keys=True)
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def _name(wanted: Reference) -> str:
    parts = ["debian", wanted.suite]
    if wanted.variant != "minbase":
        parts.append(wanted.variant)
    if wanted.include:
        parts.append(hashlib.sha256(",".join(wanted.include).encode()).hexdigest()[:8])
    return "-".join(parts)
