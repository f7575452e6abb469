"""References to images in registries, by Docker's rules (distribution/reference).

Stricter than Docker in what cannot be meant: hosts are compared in lower case, ports lie between 1
and 65535, an IPv6 address is one, digests are SHA-256, and ``Org/app`` is a repository with a
capital, not a registry that is called ``Org``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address

from banger_core.api import UsageProblem

DOCKER_HUB = "docker.io"
"""The registry of references that name none."""

_ENDPOINTS = {DOCKER_HUB: "registry-1.docker.io"}
_ALIASES = {"index.docker.io": DOCKER_HUB}
_OFFICIAL = "library/"

_NAME_MAX, _HOST_MAX, _TEXT_MAX = 255, 253, 1024

_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"({_LABEL}(?:\.{_LABEL})*|\[([0-9a-f:]+)\])(?::([0-9]+))?")
_PART = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HEX = re.compile(r"[0-9a-f]{64}")
_FOREIGN = re.compile(r"[^A-Za-z0-9._/:@\[\]-]")
_HUB_PAGE = re.compile(r"hub\.docker\.com/(?:_|r)/")
_EXAMPLES = "python:3.12-slim, ghcr.io/org/app:1.2 and ghcr.io/org/app@sha256:… are references"


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference taken apart and made complete.

    ``registry`` is ``HOST[:PORT]`` (``docker.io`` for Docker Hub), ``repository`` has its
    ``library/``. Either ``digest`` or ``tag`` is empty: with both given the digest decides.
    """

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def selector(self) -> str:
        """What the registry is asked for: the digest, or else the tag."""
        return self.digest or self.tag

    @property
    def host(self) -> str:
        """``HOST[:PORT]`` of the server that answers for the registry."""
        return _ENDPOINTS.get(self.registry, self.registry)

    @property
    def familiar(self) -> str:
        """The shortest form that means the same, with its tag or digest (``python:3.12``)."""
        name = f"{self.registry}/{self.repository}"
        if self.registry == DOCKER_HUB:
            official = self.repository.removeprefix(_OFFICIAL)
            if "/" not in official:
                name = official
            elif not _names_host(self.repository.partition("/")[0]):
                name = self.repository
        return name + self._suffix

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return f"@{self.digest}" if self.digest else f":{self.tag}"


def parse_reference(text: str) -> Reference:
    """Take ``[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`` apart.

    Without a host it is Docker Hub's, without tag and digest the tag is ``latest``.
    Raises UsageProblem, saying which rule is broken and, where it can, what is meant.
    """
    try:
        _check_text(text)
        return _parse(text)
    except _Broken as broken:
        raise _refusal(text, str(broken)) from None


class _Broken(Exception):
    """Which rule is broken."""


def _parse(text: str) -> Reference:
    name, tag, digest = _split(text)
    if digest is not None:
        _check_digest(digest)
    if tag is not None:
        _check_tag(tag)
    registry, repository = _place(name)
    _check_repository(repository)
    if registry == DOCKER_HUB and "/" not in repository:
        repository = _OFFICIAL + repository
    if len(repository) > _NAME_MAX:
        raise _Broken(f"a repository has at most {_NAME_MAX} characters, not {len(repository)}")
    if repository == f"{_OFFICIAL}sha256" and tag and _HEX.fullmatch(tag):
        raise _Broken("that is a digest without a repository: write REPOSITORY@sha256:…")
    return Reference(registry, repository, "" if digest else tag or "latest", digest or "")


def _check_text(text: str) -> None:
    if not text:
        raise _Broken("it is empty")
    if len(text) > _TEXT_MAX:
        raise _Broken(f"it has {len(text)} characters, at most {_TEXT_MAX} can be meant")
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() == "http":
        raise _Broken("it begins with http://; plain registries: plugins.oci.insecure_registries")
    if separator:
        raise _Broken(f"it begins with {scheme[:20] + separator!r}, which is no part of it")
    if found := _FOREIGN.search(text):
        raise _Broken(f"it holds {found[0]!r}; there are ASCII letters, digits and . _ - / : @")
    if _HEX.fullmatch(text):
        raise _Broken("that is an image's id, unknown to registries: write REPOSITORY@sha256:…")


def _split(text: str) -> tuple[str, str | None, str | None]:
    name, at, digest = text.partition("@")
    head, colon, tail = name.rpartition(":")
    # Else the colon belongs to a port or to an IPv6 address
    tagged = colon and "/" not in tail and "]" not in tail
    return head if tagged else name, tail if tagged else None, digest if at else None


def _place(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not name or name.startswith("/"):
        raise _Broken("it names no repository")
    if first.startswith("[") and not slash:
        raise _Broken("it names a registry, but no repository after a /")
    if not slash or not _names_host(first):
        return DOCKER_HUB, name
    if not rest:
        raise _Broken("it names a registry, but no repository after the /")
    return _check_host(first), rest


def _names_host(first: str) -> bool:
    """Tell whether the part before the first slash is a registry's host, as Docker decides."""
    return first.lower() == "localhost" or any(mark in first for mark in ".:[")


def _check_named(registry: str) -> None:
    if not _names_host(registry):
        raise _Broken("a registry has a dot or a port in its name, or is localhost")


def _check_host(text: str) -> str:
    found = _HOST.fullmatch(text.lower())
    if not found and text.count(":") > 1 and "[" not in text:
        raise _Broken(f"an IPv6 address stands in brackets: [{text[:60]}]")
    if not found or len(found[1]) > _HOST_MAX:
        raise _Broken(f"{text[:60]!r} is no host of a registry")
    host, address, port = found.groups()
    if address is not None and not _is_ipv6(address):
        raise _Broken(f"{text[:60]!r} is no IPv6 address")
    if port is not None and not 0 < int(port) < 1 << 16:
        raise _Broken(f"a port lies between 1 and 65535, {port[:20]} does not")
    host = _ALIASES.get(host, host) if port is None else host
    return host if port is None else f"{host}:{int(port)}"


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _check_repository(name: str) -> None:
    for part in name.split("/"):
        if not part:
            raise _Broken("a part between its slashes is empty")
        if part != part.lower() and _PART.fullmatch(part.lower()):
            raise _Broken(f"names of repositories are lower-case, {part[:60]!r} is not")
        if not _PART.fullmatch(part):
            raise _Broken(
                f"{part[:60]!r} is no part of a repository's name: lower-case letters and digits, "
                "between them one '.', one or two '_' or any number of '-'"
            )


def _check_tag(tag: str) -> None:
    if not tag:
        raise _Broken("after the : there is no tag")
    if not _TAG.fullmatch(tag):
        raise _Broken(
            f"{tag[:60]!r} is no tag: at most 128 letters, digits, '_', '.' and '-', "
            "neither '.' nor '-' first"
        )


def _check_digest(digest: str) -> None:
    algorithm, colon, value = digest.partition(":")
    if not digest:
        raise _Broken("after the @ there is no digest")
    if not colon:
        raise _Broken("a digest is written sha256:HEX")
    if algorithm != "sha256":
        raise _Broken(f"digests are sha256 here, {algorithm[:30]!r} is not known")
    if not _HEX.fullmatch(value):
        raise _Broken(
            "a sha256 digest has 64 hexadecimal digits, in lower case"
            + (f", not {len(value)}" if len(value) != 64 else "")
        )


def _refusal(text: str, cause: str) -> UsageProblem:
    better = _mended(text[:_TEXT_MAX])
    try:
        _check_text(better)
        _parse(better)
    except _Broken:
        better = ""
    return UsageProblem(
        f"{text[:100]!r} is no reference to an image",
        cause=cause,
        hints=[f"did you mean {better}?" if better else _EXAMPLES],
    )


def _mended(text: str) -> str:
    """``text`` without the mistakes that have one remedy."""
    text = _HUB_PAGE.sub("", text.strip().rpartition("://")[2].strip("/"), count=1).rstrip(":@/")
    name, tag, digest = _split(text)
    name = re.sub(r"/+", "/", name).lower()
    if digest:
        digest = digest.lower() if ":" in digest else f"sha256:{digest.lower()}"
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
