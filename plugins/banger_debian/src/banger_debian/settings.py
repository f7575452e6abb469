"""The section ``[plugins.debian]`` of the configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

if TYPE_CHECKING:
    from banger_core.api import Context

KEYRING_PACKAGE = "debian-archive-keyring"
DEFAULT_KEYRING = Path(f"/usr/share/keyrings/{KEYRING_PACKAGE}.gpg")
"""Comes with the package, on the host and in every Debian."""

_MIRROR = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~+-]+)*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}")


def _mirror(url: str) -> str:
    url = url.rstrip("/")
    # The address also goes into the image's sources.list: no credentials, spaces or brackets
    if not _MIRROR.fullmatch(url) or "/.." in url:
        raise ValueError("give http://HOST/PATH or https://HOST/PATH, without credentials")
    return url


def _keyring(path: Path) -> Path:
    if not path.is_absolute() or not re.fullmatch(r"[A-Za-z0-9/._+-]+", str(path)):
        raise ValueError("give an absolute path of letters, digits, '.', '_', '+' and '-'")
    return path


def _package(name: str) -> str:
    if not _PACKAGE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a Debian package")
    return name


class DebianSettings(BaseModel):
    """Where the archive is, whose signatures count, and what every image gets besides.

    ``check_mirror`` makes the doctor ask the mirrors whether they answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mirror: Annotated[str, AfterValidator(_mirror)] = "http://deb.debian.org/debian"
    security_mirror: Annotated[str, AfterValidator(_mirror)] = (
        "http://deb.debian.org/debian-security"
    )
    keyring: Annotated[Path, AfterValidator(_keyring)] = DEFAULT_KEYRING
    extra_packages: tuple[Annotated[str, AfterValidator(_package)], ...] = ()
    check_mirror: bool = False


def settings_of(cx: Context) -> DebianSettings:
    """Return the plugin's settings, with the defaults for what is not configured."""
    return DebianSettings.model_validate(dict(cx.settings))
