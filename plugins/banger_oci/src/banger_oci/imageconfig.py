"""How an image wants its programs run (OCI image specification 1.1, config.md, ``config``).

Everything here ends in a shell, a system call or a look into ``/etc/passwd`` of the guest, and an
image's author chose it: see CVE-2024-21626 (working directory), CVE-2024-40635 and CVE-2026-46680
(user). ``Healthcheck``, ``Volumes``, ``OnBuild``, ``ArgsEscaped`` and the like are ignored.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from banger_core.api import ImageConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from banger_oci.strictjson import Fields

# One argument or variable of execve(2)
_STRING_MAX = (128 << 10) - 1
_TOTAL_MAX = 1 << 20
_COUNT_MAX = 2000
_PATH_MAX = 4095
_ID_MAX = (1 << 31) - 1
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[+-]?[0-9]+")
_ACCOUNT = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@+-]{0,254}\$?")


def parse_image_config(config: Fields | None) -> ImageConfig:
    """Check and return what an image's configuration says under ``config``.

    Of variables with one name the last counts, names that no shell takes are left out, and numbers
    in ``user`` are decimal and at most 2^31-1. Raises HostileInput.
    """
    if config is None:
        return ImageConfig()
    return ImageConfig(
        env=_environment(config),
        working_dir=_directory(config),
        user=_user(config),
        entrypoint=_arguments(config, "Entrypoint"),
        cmd=_arguments(config, "Cmd"),
        labels=_labels(config),
    )


def _environment(config: Fields) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for item in _arguments(config, "Env"):
        name, equals, value = item.partition("=")
        if equals and _VARIABLE.fullmatch(name):
            found[name] = value
    return tuple(f"{name}={value}" for name, value in found.items())


def _arguments(config: Fields, key: str) -> tuple[str, ...]:
    items = config.texts(key, count=_COUNT_MAX, limit=_STRING_MAX)
    for at, item in enumerate(items):
        if "\0" in item:
            raise config.malformed(f"{key}[{at}]", "holds a NUL byte")
        if len(item.encode()) > _STRING_MAX:
            raise config.malformed(f"{key}[{at}]", f"has more than {_STRING_MAX} bytes")
    _check_total(config, key, items)
    return items


def _labels(config: Fields) -> dict[str, str]:
    labels = config.strings("Labels", count=_COUNT_MAX, limit=_TOTAL_MAX)
    _check_total(config, "Labels", (*labels, *labels.values()))
    return labels


def _check_total(config: Fields, key: str, items: Iterable[str]) -> None:
    total = sum(map(len, items))
    if total > _TOTAL_MAX:
        raise config.malformed(key, f"has {total} characters, allowed are {_TOTAL_MAX}")


def _directory(config: Fields) -> str:
    path = config.text("WorkingDir", default="", limit=_PATH_MAX)
    if not path:
        return ""
    if not path.startswith("/"):
        raise config.malformed("WorkingDir", f"is no absolute path: {path[:80]!r}")
    if "\0" in path:
        raise config.malformed("WorkingDir", "holds a NUL byte")
    first = posixpath.normpath(f"/{path.lstrip('/')}").split("/")[1]
    if first in {"proc", "sys"}:
        raise config.malformed("WorkingDir", f"leads into the kernel's own files: {path[:80]!r}")
    return path


def _user(config: Fields) -> str:
    text = config.text("User", default="", limit=512)
    user, colon, group = text.partition(":")
    parts = [user, group] if group else [user]
    if not text:
        return ""
    # "1000:" is what a Dockerfile with an unset variable leaves, and no group to Docker either
    if (colon and not user) or ":" in group:
        raise config.malformed("User", f"is neither USER nor USER:GROUP: {text[:80]!r}")
    return ":".join(_account(config, part) for part in parts)


def _account(config: Fields, name: str) -> str:
    if _NUMBER.fullmatch(name):
        number = int(name)
        if not 0 <= number <= _ID_MAX:
            raise config.malformed("User", f"has a number outside 0 to {_ID_MAX}: {name[:40]!r}")
        return str(number)
    if not _ACCOUNT.fullmatch(name):
        raise config.malformed("User", f"holds no name of a user or group: {name[:80]!r}")
    return name
