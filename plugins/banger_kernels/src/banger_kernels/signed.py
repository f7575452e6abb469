"""The kernel provider ``feeds``: kernels from feeds that their publishers sign."""

from __future__ import annotations

import platform
from functools import partial
from typing import TYPE_CHECKING

from banger_core.api import (
    BangerError,
    KernelEntry,
    KernelFiles,
    KernelPin,
    NotFound,
    UsageProblem,
    in_thread,
    quoted,
)
from banger_kernels.feed import Feed
from banger_kernels.fetch import Fetcher
from banger_kernels.places import check_url
from banger_kernels.seen import Seen
from banger_kernels.settings import settings_of
from banger_kernels.unpack import check_kernel, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from banger_core.api import Conflict, Context
    from banger_kernels.document import Offer
    from banger_kernels.settings import Source

LISTED_FOR = 300.0
"""Seconds for which a list is not asked for again. To resolve a kernel always asks."""


class SignedFeeds:
    """``NAME``, or ``FEED/NAME`` where several feeds have one of that name."""

    async def available(self, cx: Context) -> list[KernelEntry]:
        """List what the configured feeds offer; a feed that cannot be used is a broken entry of
        its name.
        """
        entries: list[KernelEntry] = []
        async with Fetcher(cx.cache_dir) as fetcher:
            for name, source in settings_of(cx).sources.items():
                try:
                    offers, wrong = await _read(name, source, cx, fetcher, LISTED_FOR)
                except BangerError as problem:
                    entries.append(_unusable(name, source, problem))
                else:
                    entries += [_entry(offer, wrong.get(offer.name)) for offer in offers.values()]
        return entries

    async def resolve(self, name: str, cx: Context) -> KernelPin:
        """Ask the feeds, in their order, and pin the first kernel of that name.

        Raises NotFound; Conflict when it is an older one than before, or another one of the same
        version; UsageProblem when it is for other hosts, or a feed has no key; Unreachable,
        IntegrityError and HostileInput.
        """
        known: list[str] = []
        sources, bare = _chosen(name, settings_of(cx).sources)
        async with Fetcher(cx.cache_dir) as fetcher:
            for source in sources:
                offers, wrong = await _read(source, sources[source], cx, fetcher, 0.0)
                if bare in wrong:
                    raise wrong[bare]
                if bare in offers:
                    return _pin(source, offers[bare])
                known += offers
        hint = "banger kernel list --available" if sources else "see [plugins.feeds.sources]"
        raise NotFound("kernel", quoted(bare)[1:-1], known, hints=[hint])

    async def materialise(self, pin: KernelPin, into: Path, cx: Context) -> KernelFiles:
        """Fetch the pinned tarball and unpack it into the empty directory ``into``.

        Raises Unreachable, IntegrityError, HostileInput and NoSpace.
        """
        url = str(pin.data["url"])
        check_url(url)
        async with Fetcher(cx.cache_dir) as fetcher:
            report = partial(cx.progress, f"kernel {pin.name}", total=pin.size)
            stages = partial(cx.progress, f"unpacking kernel {pin.version}", total=0)
            async with fetcher.file(url, pin.digest, pin.size, report) as tarball:
                files = await in_thread(unpack, tarball, pin.digest, into, stages)
                await in_thread(check_kernel, files.vmlinux, pin.architecture)
        return files

    async def accept(self, name: str, cx: Context) -> None:
        """Take what the feeds offer under that name now, be it older or another one than before.

        Raises what ``resolve`` raises for a feed that cannot be used.
        """
        sources, bare = _chosen(name, settings_of(cx).sources)
        async with Fetcher(cx.cache_dir) as fetcher:
            for source in sources:
                offers = await Feed(source, sources[source], cx).offers(fetcher)
                if bare in offers:
                    _seen(source, cx).accept(offers[bare])
                    return


async def _read(
    name: str, source: Source, cx: Context, fetcher: Fetcher, max_age: float
) -> tuple[dict[str, Offer], Mapping[str, Conflict]]:
    """Return what a feed offers, and what of it must not be taken."""
    offers = await Feed(name, source, cx).offers(fetcher, max_age=max_age)
    return offers, _seen(name, cx).problems(offers)


def _seen(source: str, cx: Context) -> Seen:
    return Seen(cx.state_dir / f"seen-{source}.json", source)


def _chosen(name: str, sources: Mapping[str, Source]) -> tuple[Mapping[str, Source], str]:
    source, separator, bare = name.rpartition("/")
    if not separator:
        return sources, name
    if source not in sources:
        hints = ["see [plugins.feeds.sources] of the configuration"]
        raise NotFound("feed", quoted(source)[1:-1], sources, hints=hints)
    return {source: sources[source]}, bare


def _entry(offer: Offer, problem: Conflict | None) -> KernelEntry:
    return KernelEntry(
        name=offer.name,
        distro=offer.distro,
        architecture=offer.architecture,
        version=offer.kernel_version,
        digest=offer.digest,
        source=offer.url,
        size=offer.size_bytes,
        description=offer.description,
        problem=problem.summary if problem else "",
    )


def _unusable(name: str, source: Source, problem: BangerError) -> KernelEntry:
    return KernelEntry(name=name, source=source.url, problem=f"{problem.summary}: {problem.cause}")


def _pin(source: str, offer: Offer) -> KernelPin:
    native = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    if offer.architecture != native:
        raise UsageProblem(
            f"kernel {offer.name} is for {offer.architecture}",
            cause=f"this host is {native or quoted(platform.machine())}",
            hints=["banger kernel list --available"],
        )
    return KernelPin(
        provider="feeds",
        name=offer.name,
        version=offer.kernel_version,
        distro=offer.distro,
        architecture=offer.architecture,
        digest=offer.digest,
        size=offer.size_bytes,
        source=offer.url,
        data={"feed": source, "url": offer.url},
    )
