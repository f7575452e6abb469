"""``catalog.json``: what a feed offers. Read only after its signature has been checked."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from banger_core.api import HostileInput, quoted
from banger_kernels.manifest import is_name
from banger_kernels.places import resolve

DOCUMENT_MAX = 4 << 20
"""Most bytes of a ``catalog.json``."""

TARBALL_MAX = 2 << 30
"""Most bytes of a tarball, packed or unpacked."""

_ENTRIES_MAX = 10_000
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_TEXT = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z"

Line = Annotated[str, Field(max_length=200, pattern=re.compile(_TEXT))]


class Offer(BaseModel):
    """One kernel on offer. ``sha256`` and ``size_bytes`` are those of the tarball at ``url``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    distro: Line
    arch: Literal["amd64", "arm64", "x86_64", "aarch64"]
    kernel_version: Annotated[Line, Field(min_length=1)]
    url: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0, le=TARBALL_MAX)]
    description: Annotated[str, Field(max_length=1000, pattern=re.compile(_TEXT))] = ""

    @property
    def architecture(self) -> str:
        """The architecture in OCI's words."""
        return _ARCHITECTURES.get(self.arch, self.arch)

    @property
    def digest(self) -> str:
        """The digest of the tarball."""
        return f"sha256:{self.sha256}"


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1]
    entries: Annotated[list[Offer], Field(max_length=_ENTRIES_MAX)]


def parse_catalog(data: bytes, base: str, what: str) -> dict[str, Offer]:
    """Return the kernels on offer by name, their URLs made absolute against ``base``.

    Raises HostileInput, naming ``what``, when anything at all is wrong: a publisher whose document
    is half wrong has not looked at the other half either.
    """
    content = _load(data, what)
    version = content.get("version")
    if isinstance(version, bool):
        # In Python true is 1, elsewhere it is not
        raise _malformed(what, "version: true and false are no numbers")
    if isinstance(version, int) and version != 1:
        raise HostileInput(
            f"{what} is of version {quoted(version, 20)[1:-1]}",
            cause="this banger reads version 1",
            hints=["python -m pip install --upgrade banger-kernels"],
        )
    try:
        document = _Document.model_validate(content)
    except ValidationError as problem:
        raise _malformed(what, _first(problem)) from None
    offers: dict[str, Offer] = {}
    for offer in document.entries:
        if not is_name(offer.name):
            raise _malformed(what, f"{quoted(offer.name)} is not a kernel's name")
        if offer.name in offers:
            raise _malformed(what, f"{offer.name} is there twice")
        try:
            url = resolve(base, offer.url)
        except ValueError as problem:
            raise _malformed(what, f"{offer.name}: url {quoted(offer.url)}: {problem}") from None
        offers[offer.name] = offer.model_copy(update={"url": url})
    return offers


def _load(data: bytes, what: str) -> dict[str, Any]:
    try:
        content = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise _malformed(what, "it is nested too deeply") from None
    except ValueError as problem:
        raise _malformed(what, f"it is not JSON: {quoted(problem)[1:-1]}") from None
    if not isinstance(content, dict):
        raise _malformed(what, "it is not a JSON object")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ in which of two equal keys they believe: there must not be two."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key is there twice")
    return content


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def _first(problem: ValidationError) -> str:
    first = problem.errors(include_url=False, include_input=False)[0]
    where = ".".join(quoted(part, 40)[1:-1] for part in first["loc"])
    return f"{where}: {quoted(first['msg'], 200)[1:-1]}"


def _malformed(what: str, cause: str) -> HostileInput:
    return HostileInput(
        f"{what} cannot be used", cause=cause, hints=["tell its publisher: nothing of it is used"]
    )
