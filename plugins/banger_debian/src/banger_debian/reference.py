"""References of the image source: ``debian://SUITE[?variant=V&include=A,B]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banger_core.api import NotFound, UsageProblem
from banger_debian.suites import SUITES

if TYPE_CHECKING:
    from banger_core.api import ImageRef

VARIANTS = ("minbase", "apt", "essential", "buildd", "important", "standard")
"""Sets of packages, as mmdebstrap(1) names them."""

DEFAULT_INCLUDE = ("ca-certificates", "iproute2", "iputils-ping", "netbase", "procps")
"""What makes ``minbase`` a machine to work on: certificates, network tools, ``ps``."""

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}")
_INCLUDES_MAX = 200


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference taken apart; ``include`` is what it asks for besides the defaults."""

    suite: str
    variant: str
    include: tuple[str, ...]


def parse_reference(ref: ImageRef) -> Reference:
    """Take a reference apart. Raises NotFound for an unknown suite, else UsageProblem."""
    suite, _, query = ref.rest.partition("?")
    suite = suite.strip("/")
    if suite not in SUITES:
        raise NotFound("Debian suite", suite, SUITES, hints=["banger image pull debian://bookworm"])
    options = _options(query, ref)
    variant = options.get("variant", "minbase")
    if variant not in VARIANTS:
        raise NotFound("variant", variant, VARIANTS, hints=["leave it away for minbase"])
    include = tuple(sorted({name for name in options.get("include", "").split(",") if name}))
    for name in include:
        if not _PACKAGE.fullmatch(name):
            raise UsageProblem(
                f"{name[:100]!r} is no name of a Debian package",
                cause="it is made of a-z, 0-9, '+', '-' and '.'",
                hints=["debian://bookworm?include=git,vim"],
            )
    if len(include) > _INCLUDES_MAX:
        raise UsageProblem(
            f"{len(include)} packages are too many",
            cause=f"most: {_INCLUDES_MAX}",
            hints=["banger image build --packages FILE installs any number"],
        )
    return Reference(suite, variant, include)


def _options(query: str, ref: ImageRef) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in ("variant", "include") or key in options:
            raise UsageProblem(
                f"{ref} cannot be read",
                cause=f"{key[:60]!r} is not expected there",
                hints=["debian://bookworm?variant=minbase&include=git,vim"],
            )
        options[key] = value
    return options
