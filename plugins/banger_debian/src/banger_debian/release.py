"""The signed index of a repository: ``InRelease`` (https://wiki.debian.org/DebianRepository/Format)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from banger_core.api import HostileInput, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from banger_debian.suites import Repository

_DIGEST_LINE = re.compile(r" ([0-9a-f]{64}) +(\d{1,12}) (\S{1,255})")
_FIELD = re.compile(r"([A-Za-z0-9-]+):(.*)")


@dataclass(frozen=True, slots=True)
class IndexFile:
    """What the signed index says about one file: its SHA-256 in hexadecimal and its bytes."""

    sha256: str
    size: int

    @property
    def digest(self) -> str:
        """The digest as ``sha256:HEX``."""
        return f"sha256:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Release:
    """A verified ``InRelease``. Times are seconds since the epoch; ``digest`` is the file's own."""

    repository: Repository
    digest: str
    date: int
    valid_until: int | None
    by_hash: bool
    files: Mapping[str, IndexFile]

    def index(self, architecture: str, suffix: str = "") -> IndexFile:
        """Return what is known of the package index. Raises IntegrityError when it is missing."""
        path = f"main/binary-{architecture}/Packages{suffix}"
        try:
            return self.files[path]
        except KeyError:
            raise IntegrityError(
                f"{self.repository.url} has no {path}",
                cause="its signed index does not name it",
            ) from None

    def check_fresh(self, now: float) -> None:
        """Raise IntegrityError when the signed index says that it is too old to be believed."""
        if self.valid_until is not None and now > self.valid_until:
            raise IntegrityError(
                f"{self.repository.url} is out of date",
                cause="its Valid-Until has passed: the mirror is stale, or this host's clock wrong",
                hints=["date", "or set another mirror: plugins.debian.mirror"],
            )


def parse_release(text: bytes, document: bytes, repository: Repository) -> Release:
    """Read the signed ``text`` of ``document``.

    Raises IntegrityError when it is the index of another suite (a replay), HostileInput when it
    is none at all.
    """
    fields, files = _read(text.decode("utf-8", "replace"))
    if repository.suite not in (fields.get("codename"), fields.get("suite")):
        raise IntegrityError(
            f"{repository.url} is the index of another suite",
            cause=f"it is signed as {fields.get('codename') or 'nothing'}",
        )
    date = _time(fields.get("date", ""), repository)
    until = fields.get("valid-until")
    return Release(
        repository=repository,
        digest=hashlib.sha256(document).hexdigest(),
        date=date,
        valid_until=None if until is None else _time(until, repository),
        by_hash=fields.get("acquire-by-hash") == "yes",
        files=files,
    )


def _read(text: str) -> tuple[dict[str, str], dict[str, IndexFile]]:
    fields: dict[str, str] = {}
    files: dict[str, IndexFile] = {}
    current = ""
    for line in text.splitlines():
        if field := _FIELD.fullmatch(line):
            current = field[1].lower()
            fields[current] = field[2].strip()
        elif current == "sha256" and (found := _DIGEST_LINE.fullmatch(line)):
            files[found[3]] = IndexFile(found[1], int(found[2]))
    return fields, files


def _time(text: str, repository: Repository) -> int:
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except ValueError as problem:
        raise HostileInput(
            f"{repository.url} has no readable date", cause=f"{text[:80]!r}"
        ) from problem
