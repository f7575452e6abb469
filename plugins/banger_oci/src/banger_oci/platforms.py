"""Platforms: how they are written, which of several images fits, and the way through indexes.

Names are Go's (``amd64``, ``arm64``), short forms and variants as Docker and containerd have them.
"""

from __future__ import annotations

import platform as host
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banger_core.api import HostileInput, NotFound, UsageProblem
from banger_oci.mediatypes import DOCUMENT_TYPES, INDEX_TYPES

if TYPE_CHECKING:
    from banger_oci.documents import Descriptor, Index

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "i386": "386",
    "i686": "386",
    "armhf": "arm",
    "armel": "arm",
}
_KNOWN = frozenset(
    "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x".split()
)
_PART = re.compile(r"[A-Za-z0-9._-]{1,32}")
_LEVEL = re.compile(r"v([0-9]{1,2})(?:\.([0-9]{1,2}))?")
_REFERENCE_TYPE = "vnd.docker.reference.type"
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Platform:
    """``os/architecture[/variant]`` in Go's words."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def normalised(os: str, architecture: str, variant: str = "") -> Platform:
    """The one way to write a platform: ``linux/aarch64/v8`` is ``linux/arm64``."""
    os, given, variant = os.lower(), architecture.lower(), variant.lower()
    architecture = _ARCHITECTURES.get(given, given)
    if variant.isdecimal():
        variant = f"v{variant}"
    if architecture == "arm":
        variant = variant or {"armel": "v6"}.get(given, "v7")
    if (architecture, variant) in {("amd64", "v1"), ("arm64", "v8"), ("arm64", "v8.0")}:
        variant = ""
    return Platform(os, architecture, variant)


def parse_platform(text: str) -> Platform:
    """Read ``[linux/]ARCHITECTURE[/VARIANT]``; '' is this host's. Raises UsageProblem."""
    if not text:
        return host_platform()
    parts = text.lower().split("/")
    if parts == ["linux"]:
        return host_platform()
    if len(parts) == 1:
        parts = ["linux", *parts]
    if len(parts) > 3 or not all(map(_PART.fullmatch, parts)):
        raise _no_platform(text, "a platform is written OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT")
    found = normalised(*parts)
    if found.os != "linux":
        raise _no_platform(text, "banger runs Linux, and only Linux")
    if found.architecture not in _KNOWN:
        raise _no_platform(text, f"{found.architecture!r} is no architecture that images are for")
    if found.variant and not _LEVEL.fullmatch(found.variant):
        raise _no_platform(text, f"{found.variant!r} is no variant: they are called v7, v8 or v8.2")
    return found


def host_platform() -> Platform:
    """Return this host's platform, without a variant: it is the VM's processor that counts."""
    return normalised("linux", host.machine())


def choose(index: Index, platform: Platform) -> Descriptor:
    """Return the image of ``index`` for ``platform``: the same, else the best variant that such
    a machine can run; of equals the first. What says no platform is taken when it is alone.

    Attestations and artifacts are no images. Raises NotFound, naming the platforms there are, and
    UsageProblem when there are none to name.
    """
    images = [entry for entry in index.manifests if _is_image(entry)]
    best, reached = None, (-1, -1)
    for entry in images:
        rank = _rank(entry.platform, platform) if entry.platform else None
        if rank and rank > reached:
            best, reached = entry, rank
    silent = [entry for entry in images if entry.platform is None]
    if best is None and len(silent) == 1:
        best = silent[0]
    if best is None:
        raise _none_fits(platform, images)
    return best


def check_platform(found: Platform, wanted: Platform) -> None:
    """Raise NotFound when an image for ``found`` is none for ``wanted``: an image without an
    index has to be asked itself, and an index may say what is not so.
    """
    if _rank(found, wanted) is None:
        raise _not_found(wanted, {found})


class Descent:
    """The way from index to index down to an image: at most four, and none of them twice."""

    def __init__(self) -> None:
        self._passed: list[str] = []

    def follow(self, entry: Descriptor) -> bool:
        """Tell whether ``entry`` is one more index to go into. Raises HostileInput when the way
        has become a circle or too long.
        """
        if entry.digest in self._passed:
            raise _lost("an index contains itself")
        self._passed.append(entry.digest)
        if entry.media_type not in INDEX_TYPES:
            return False
        if len(self._passed) > _DEPTH:
            raise _lost(f"more than {_DEPTH} indexes lie one in another")
        return True


def _is_image(entry: Descriptor) -> bool:
    if _REFERENCE_TYPE in entry.annotations or entry.media_type not in DOCUMENT_TYPES:
        return False
    return entry.platform is None or "unknown" not in {
        entry.platform.os,
        entry.platform.architecture,
    }


def _rank(offered: Platform, wanted: Platform) -> tuple[int, int] | None:
    """How near the top of what ``wanted`` can run ``offered`` is; None: it cannot run it."""
    offered = normalised(offered.os, offered.architecture, offered.variant)
    wanted = normalised(wanted.os, wanted.architecture, wanted.variant)
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    if offered.variant == wanted.variant:
        return (100, 0)
    has, can = _level(offered), _level(wanted)
    if has is None or can is None:
        return None
    # ARMv9.x has all that v8.(x+5) has
    if has[0] < can[0] and wanted.architecture == "arm64" and has[1] > can[1] + 5:
        return None
    return has if has <= can else None


def _level(platform: Platform) -> tuple[int, int] | None:
    base = {"amd64": "v1", "arm64": "v8"}.get(platform.architecture, "")
    found = _LEVEL.fullmatch(platform.variant or base)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _none_fits(wanted: Platform, images: list[Descriptor]) -> UsageProblem:
    if there := {image.platform for image in images if image.platform}:
        return _not_found(wanted, there)
    cause = f"none of its {len(images)} images says for which" if images else "it holds no image"
    return UsageProblem(
        f"the index has no image for {wanted}",
        cause=cause,
        hints=["name an image by its digest: REPOSITORY@sha256:…"],
    )


def _not_found(wanted: Platform, there: set[Platform]) -> NotFound:
    known = sorted(str(normalised(one.os, one.architecture, one.variant)) for one in there)
    linux = [name for name in known if name.startswith("linux/")]
    advice = f"--platform {linux[0]}" if linux else "try another tag, or another image"
    return NotFound("platform of this image", str(wanted), known, hints=[advice])


def _no_platform(text: str, cause: str) -> UsageProblem:
    hints = ["--platform linux/amd64", "--platform linux/arm64"]
    return UsageProblem(f"{text[:60]!r} is no platform", cause=cause, hints=hints)


def _lost(cause: str) -> HostileInput:
    return HostileInput(
        "the image's index leads nowhere",
        cause=cause,
        hints=["try another tag, or tell whoever publishes the image"],
    )
