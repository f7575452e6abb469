"""Which Firecracker is safe to run, and why an older one is not.

From the CVE records of the assigner AMZN for the product Firecracker. Every published hole counts,
whether or not banger's own use of Firecracker reaches it: what reaches it today may change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from banger_core.api import BangerError, Context, HostNotReady

Version = tuple[int, int, int]

DOWNLOAD = "https://github.com/firecracker-microvm/firecracker/releases"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A hole: ``affected`` are half-open ranges of versions, ``reach`` says whether banger's use
    of Firecracker gets there.
    """

    name: str
    what: str
    affected: tuple[tuple[Version, Version], ...]
    reach: str


ADVISORIES = (
    Advisory(
        name="CVE-2026-122192",
        what="a guest reaches memory of the Firecracker process after a failed memory discard",
        affected=(((0, 23, 0), (1, 16, 2)),),
        reach="banger gives guests no balloon device",
    ),
    Advisory(
        name="CVE-2026-5747",
        what="root in a guest writes out of bounds in the virtio PCI transport",
        affected=(((1, 13, 0), (1, 14, 4)), ((1, 15, 0), (1, 15, 1))),
        reach="banger never passes --enable-pci",
    ),
    Advisory(
        name="CVE-2026-1386",
        what="the jailer follows a symbolic link and overwrites files of the host",
        affected=(((0, 0, 0), (1, 13, 2)), ((1, 14, 0), (1, 14, 1))),
        reach="only root can write where banger makes jails",
    ),
)

SAFE: Version = (1, 16, 2)
"""The oldest version without a published hole."""


def written(version: Version) -> str:
    """Return ``1.2.3``."""
    return ".".join(map(str, version))


def holes(version: Version) -> list[Advisory]:
    """Return the published holes of a version."""
    return [
        each
        for each in ADVISORIES
        if any(first <= version < fixed for first, fixed in each.affected)
    ]


def unsafe(version: Version) -> str:
    """Say why a version is not safe to run, in one line; empty when it is."""
    if version >= SAFE:
        return ""
    known = holes(version)
    reasons = [f"{each.name} ({each.what}; {each.reach})" for each in known]
    return "; ".join(reasons) or f"older than {written(SAFE)}"


async def read_version(binary: str, cx: Context) -> Version:
    """Ask Firecracker for its version. Raises HostNotReady when it does not tell."""
    try:
        output = (await cx.run([binary, "--version"], timeout=10)).decode(errors="replace")
    except BangerError as problem:
        raise HostNotReady(
            f"{binary} cannot be run", cause=problem.cause or problem.summary, hints=[DOWNLOAD]
        ) from problem
    found = re.match(r"Firecracker v(\d{1,5})\.(\d{1,5})\.(\d{1,5})", output)
    if found is None:
        raise HostNotReady(
            f"{binary} does not say that it is Firecracker",
            cause=f"it says {output[:80]!r}",
            hints=[DOWNLOAD],
        )
    return int(found[1]), int(found[2]), int(found[3])


def check_version(version: Version, cx: Context) -> None:
    """Raise HostNotReady for an unsafe version, unless the configuration allows it: then say so."""
    problem = unsafe(version)
    if not problem:
        return
    if not cx.settings.get("allow_unsafe_version"):
        raise HostNotReady(
            f"Firecracker {written(version)} is not safe to run",
            cause=problem,
            hints=[
                f"install {written(SAFE)} or newer: {DOWNLOAD}",
                "allow_unsafe_version = true in [plugins.firecracker] runs it all the same",
            ],
        )
    cx.log.warning(
        "Firecracker %s is run although it is not safe (allow_unsafe_version): %s",
        written(version),
        problem,
    )
