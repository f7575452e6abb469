"""Stanzas of a package index (deb-control(5)), checked before anything is made of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from banger_core.api import HostileInput
from banger_debian.versions import version_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE_MAX = 4 << 30
"""Bytes of the largest package that is taken."""

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{1,199}")
_VERSION = re.compile(r"([0-9]{1,9}:)?[A-Za-z0-9.+:~-]{1,200}")
_PLACE = re.compile(r"[A-Za-z0-9+._~:%-]+(/[A-Za-z0-9+._~:%-]+)*\.deb")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One version of one package: where it is, and what it must be.

    ``mirror`` and ``filename`` make its address, ``sha256`` (hexadecimal) and ``size`` its
    content. Raises HostileInput for values that no honest index has.
    """

    name: str
    version: str
    mirror: str
    filename: str
    sha256: str
    size: int
    depends: str = ""

    def __post_init__(self) -> None:
        for what, value, form in (
            ("Package", self.name, _NAME),
            ("Version", self.version, _VERSION),
            ("Filename", self.filename, _PLACE),
            ("SHA256", self.sha256, _DIGEST),
        ):
            if not form.fullmatch(value):
                raise _hostile(self.name, what, value)
        if any(part in (".", "..") for part in self.filename.split("/")):
            raise _hostile(self.name, "Filename", self.filename)
        if not 0 < self.size <= PACKAGE_MAX:
            raise _hostile(self.name, "Size", str(self.size))

    @property
    def url(self) -> str:
        """Where the package can be fetched."""
        return f"{self.mirror}/{quote(self.filename, safe='/+~:')}"

    @property
    def digest(self) -> str:
        """The digest of the package file, as ``sha256:HEX``."""
        return f"sha256:{self.sha256}"


def find(index: bytes, names: Iterable[str], mirror: str) -> list[Package]:
    """Return every version of the named packages in an index.

    Raises HostileInput for a stanza that no honest index has.
    """
    return [
        package(stanza, mirror)
        for name in names
        for stanza in _stanzas(index, b"Package: " + name.encode() + b"\n")
    ]


def newest(packages: Iterable[Package]) -> Package:
    """Return the package with the highest version."""
    return max(packages, key=lambda one: version_key(one.version))


def package(stanza: bytes, mirror: str) -> Package:
    """Make a package of its stanza. Raises HostileInput."""
    fields = {}
    for line in stanza.decode("utf-8", "replace").splitlines():
        # Continuation lines belong to fields that nobody here reads
        if not line.startswith((" ", "\t")):
            key, _, value = line.partition(":")
            fields[key.lower()] = value.strip()
    name, size = fields.get("package", ""), fields.get("size", "")
    if not re.fullmatch(r"[0-9]{1,12}", size):
        raise _hostile(name, "Size", size)
    return Package(
        name=name,
        version=fields.get("version", ""),
        mirror=mirror,
        filename=fields.get("filename", ""),
        sha256=fields.get("sha256", ""),
        size=int(size),
        depends=fields.get("depends", ""),
    )


def _stanzas(index: bytes, first_line: bytes) -> Iterator[bytes]:
    at = 0
    while (at := index.find(first_line, at)) >= 0:
        if at == 0 or index[at - 1 : at] == b"\n":
            # "Package" is the first field in practice, but nothing promises it
            start = index.rfind(b"\n\n", 0, at) + 2 if b"\n\n" in index[:at] else 0
            end = index.find(b"\n\n", at)
            yield index[start : end if end >= 0 else len(index)]
        at += len(first_line)


def _hostile(name: str, field: str, value: str) -> HostileInput:
    return HostileInput(
        f"the package index says nonsense about {name[:80]!r}", cause=f"{field}: {value[:120]!r}"
    )
