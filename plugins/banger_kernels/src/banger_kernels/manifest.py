"""``manifest.json``: what an entry of the catalogue says about itself."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"

_SIZE_MAX = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]{0,1000}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The seven fields. ``sha256`` is that of ``vmlinux`` in hexadecimal, ``imported_at`` a time
    as in RFC 3339. Raises ValueError for values of the wrong form.
    """

    name: str
    distro: str
    arch: str
    kernel_version: str
    sha256: str
    source: str
    imported_at: str

    def __post_init__(self) -> None:
        for field, value in asdict(self).items():
            if not isinstance(value, str) or not _TEXT.fullmatch(value):
                raise ValueError(f"{field} is not one line of text")
        if not is_name(self.name):
            raise ValueError(f"name {self.name!r} is not a kernel's name")
        if not _DIGEST.fullmatch(self.sha256):
            raise ValueError("sha256 is not 64 hexadecimal digits")
        if datetime.fromisoformat(self.imported_at).tzinfo is None:
            raise ValueError("imported_at has no time zone")

    def to_text(self) -> str:
        """Return the file's content."""
        return json.dumps(asdict(self), indent=2) + "\n"


def is_name(name: str) -> bool:
    """Say whether a kernel may be called that (no dot first, no slash, at most 128 letters)."""
    return _NAME.fullmatch(name) is not None


def read_manifest(path: Path, name: str) -> Manifest:
    """Read the manifest of the kernel ``name``. Raises OSError, and ValueError when it is none."""
    with path.open("rb") as file:
        text = file.read(_SIZE_MAX + 1)
    if len(text) > _SIZE_MAX:
        raise ValueError("manifest.json is too long")
    try:
        fields = json.loads(text)
    except RecursionError as problem:
        raise ValueError("manifest.json is nested too deeply") from problem
    if not isinstance(fields, dict):
        raise ValueError("manifest.json is no JSON object")  # noqa: TRY004 - one kind of error for all damage
    if wrong := sorted(set(Manifest.__slots__) ^ set(fields)):
        raise ValueError(f"manifest.json: missing or unknown fields: {', '.join(wrong)[:200]}")
    manifest = Manifest(**fields)
    if manifest.name != name:
        raise ValueError(f"manifest.json is that of {manifest.name}")
    return manifest
