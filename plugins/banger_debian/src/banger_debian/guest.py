"""The programs that banger runs inside every guest, as Debian builds them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from banger_core.api import GuestFiles, GuestPin, Unreachable, blob_path, in_thread
from banger_debian.archive import Archive
from banger_debian.memory import recall, remember
from banger_debian.pack import BUILDER, PACKAGES, Pack
from banger_debian.packages import Package
from banger_debian.suites import check_architecture

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from banger_core.api import Context

SUITE = "bookworm"
"""The suite whose programs are used, whatever the image is: they bring their own libraries."""

_REFRESH_AFTER = 30 * 86400.0


class DebianGuest:
    """The guest runtime ``debian``."""

    async def resolve(self, architecture: str, cx: Context) -> GuestPin:
        """Choose the newest packages, at most once in thirty days.

        In between, and without a network, those chosen before are used when the cache has them.
        Raises Unreachable and IntegrityError.
        """
        architecture = check_architecture(architecture)
        key = f"guest-{architecture}"
        known = recall(cx, key)
        kept = _kept(known[0], architecture, cx) if known else None
        if known and kept and known[1] < _REFRESH_AFTER:
            return kept
        try:
            async with Archive(cx, SUITE, architecture) as archive:
                packages = await archive.newest(PACKAGES)
        except Unreachable:
            if kept is None:
                raise
            cx.log.warning("no answer from the mirror, using the guest runtime in the cache")
            return kept
        pin = _pin(architecture, packages.values())
        remember(cx, key, pin.data)
        return pin

    async def materialise(self, pin: GuestPin, cx: Context) -> GuestFiles:
        """Return the programs and libraries, from the cache or fetched and taken out.

        Raises Unreachable, IntegrityError and NoSpace.
        """
        pack = Pack(cx.cache_dir, pin)
        if (files := await in_thread(pack.load)) is not None:
            return files
        async with Archive(cx, SUITE, pin.architecture) as archive:
            debs = await archive.fetch(_packages(pin.data), "programs of the guest runtime")
        return await in_thread(pack.make, debs)


def _packages(data: Mapping[str, Any]) -> list[Package]:
    return [Package(**fields) for fields in data["packages"]]


def _pin(architecture: str, packages: Iterable[Package]) -> GuestPin:
    chosen = sorted(packages, key=lambda one: one.name)
    content = "\n".join([f"builder {BUILDER}", *(one.sha256 for one in chosen)])
    return GuestPin(
        runtime="debian",
        digest=f"sha256:{hashlib.sha256(content.encode()).hexdigest()}",
        architecture=architecture,
        versions={one.name: one.version for one in chosen},
        data={"packages": [asdict(one) for one in chosen]},
    )


def _kept(data: Mapping[str, Any], architecture: str, cx: Context) -> GuestPin | None:
    """Return the pin that was chosen before, if the cache still has all of it."""
    try:
        packages = _packages(data)
    except (KeyError, TypeError):
        return None
    if {one.name for one in packages} != set(PACKAGES):
        return None
    pin = _pin(architecture, packages)
    here = all(blob_path(cx.cache_dir, one.digest).is_file() for one in packages)
    return pin if here or Pack(cx.cache_dir, pin).load() is not None else None
