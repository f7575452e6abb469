"""The suites of the Debian archive, and the repositories that make up each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from banger_core.api import NotFound, UsageProblem

if TYPE_CHECKING:
    from banger_debian.settings import DebianSettings

_RELEASES = ("bullseye", "bookworm", "trixie", "forky")
_UNSTABLE = "sid"

SUITES = (*_RELEASES, _UNSTABLE)
"""The code names that a reference may use."""

ARCHITECTURES = ("amd64", "arm64")
"""Debian's names, which are also OCI's."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One signed part of the archive: ``MIRROR/dists/SUITE``."""

    mirror: str
    suite: str

    @property
    def url(self) -> str:
        """Where its index files are."""
        return f"{self.mirror}/dists/{self.suite}"


def repositories(codename: str, settings: DebianSettings) -> tuple[Repository, ...]:
    """Return the repositories of a suite, the base one first. Raises NotFound."""
    if codename not in SUITES:
        raise NotFound("Debian suite", codename, SUITES)
    base = Repository(settings.mirror, codename)
    if codename == _UNSTABLE:
        return (base,)
    return (
        base,
        Repository(settings.mirror, f"{codename}-updates"),
        Repository(settings.security_mirror, f"{codename}-security"),
    )


def check_architecture(name: str) -> str:
    """Return Debian's name of an architecture. Raises UsageProblem for an unsupported one."""
    known = {"x86_64": "amd64", "aarch64": "arm64"}.get(name, name)
    if known not in ARCHITECTURES:
        raise UsageProblem(
            f"Debian's packages for {name} are not used",
            cause=f"only those for {' and '.join(ARCHITECTURES)} are",
            hints=["leave --platform away"],
        )
    return known
