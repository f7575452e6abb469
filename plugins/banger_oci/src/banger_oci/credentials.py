"""Credentials for registries, from where Docker and Podman keep them.

Docker's ``config.json`` (``docker login``), the credential helpers that it names, and Podman's
``auth.json`` for what Docker does not know. Nothing of their content ever goes into a message.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from banger_core.api import BangerError, in_thread, quoted
from banger_oci.helpers import ask_helper

if TYPE_CHECKING:
    from banger_oci.reference import Reference
    from banger_oci.settings import OciSettings

HUB = "docker.io"

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({"index.docker.io", "registry-1.docker.io"})
_FILE_MAX = 1 << 20
_TOKEN_USER = "<token>"  # noqa: S105 (what a helper says instead of a name)

Section = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who we are to a registry: a name and a password, or one of two kinds of tokens.

    ``identity_token`` buys tokens, ``registry_token`` is one. ``source`` says where they are from.
    """

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


async def find_credentials(reference: Reference, settings: OciSettings) -> Credentials | None:
    """Return the credentials for a reference's registry, None when there are none.

    Raises BangerError for a file or a helper that does not work, HostNotReady for a helper that
    is not installed.
    """
    docker = docker_file(settings)
    if found := await _from_docker(reference, docker):
        return found
    if not (runtime := os.environ.get("XDG_RUNTIME_DIR")):
        return None
    podman = Path(runtime) / "containers" / "auth.json"
    return _from_auths(reference, await in_thread(read_config, podman), podman)


def docker_file(settings: OciSettings) -> Path:
    """Return where Docker's ``config.json`` is, or would be."""
    configured = settings.docker_config or os.environ.get("DOCKER_CONFIG")
    return Path(configured or Path.home() / ".docker").expanduser() / "config.json"


def read_config(path: Path) -> Section:
    """Return a file's JSON object, an empty one when there is no file. Raises BangerError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as problem:
        raise _unusable(path, problem.strerror or str(problem)) from problem
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _unusable(path, "it is not a regular file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(_FILE_MAX + 1)
    finally:
        os.close(handle)
    if len(data) > _FILE_MAX:
        raise _unusable(path, f"it is longer than {_FILE_MAX >> 20} MiB")
    try:
        content = json.loads(data) if data.strip() else {}
    except json.JSONDecodeError as problem:
        cause = f"line {problem.lineno}, column {problem.colno}: {problem.msg}"
        raise _unusable(path, cause) from None
    except (ValueError, RecursionError):
        raise _unusable(path, "it is not JSON") from None
    if not isinstance(content, dict):
        raise _unusable(path, "it does not hold a JSON object")
    return content


async def _from_docker(reference: Reference, path: Path) -> Credentials | None:
    config = await in_thread(read_config, path)
    chosen = _entry(reference, _section(config, "credHelpers", path))
    helper = chosen if chosen is not None else config.get("credsStore")
    if helper:
        if not isinstance(helper, str):
            raise _unusable(path, "the name of a credential helper is not a text")
        server = _HUB_KEY if reference.registry == HUB else reference.registry
        if answer := await ask_helper(helper, server, named_by=path):
            user, secret = answer
            source = f"docker-credential-{helper}"
            if user == _TOKEN_USER:
                return Credentials(source=source, identity_token=secret)
            return Credentials(source=source, username=user, password=secret)
    return _from_auths(reference, config, path)


def _from_auths(reference: Reference, config: Section, path: Path) -> Credentials | None:
    entry = _entry(reference, _section(config, "auths", path))
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise _unusable(path, f"what it has for {reference.registry} is not an object")
    texts = {key: value for key, value in entry.items() if isinstance(value, str)}
    user, password = texts.get("username", ""), texts.get("password", "")
    if texts.get("auth"):
        user, password = _unpack(texts["auth"], reference, path)
    found = Credentials(
        source=str(path),
        username=user,
        password=password,
        identity_token=texts.get("identitytoken", ""),
        registry_token=texts.get("registrytoken", ""),
    )
    return found if found != Credentials(source=str(path)) else None


def _unpack(text: str, reference: Reference, path: Path) -> tuple[str, str]:
    try:
        user, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        user, colon, password = "", "", ""
    if not colon or not user:
        cause = f"what it has for {reference.registry} is not base64 of NAME:PASSWORD"
        raise _unusable(path, cause, reference.registry)
    return user, password.rstrip("\0")


def _section(config: Section, name: str, path: Path) -> Section:
    section = config.get(name) or {}
    if not isinstance(section, dict):
        raise _unusable(path, f"{name} is not an object")
    return section


def _entry(reference: Reference, section: Section) -> Any:
    """Return what is kept for the reference: for its repository, one above, or its registry."""
    known = {_normal(key): value for key, value in reversed(list(section.items()))}
    place = f"{reference.registry}/{reference.repository}"
    while place:
        if place in known:
            return known[place]
        place = place.rpartition("/")[0]
    return None


def _normal(key: str) -> str:
    """Return the key of an entry as ``HOST[:PORT][/PATH]``; older Dockers wrote URLs."""
    place = key.rpartition("://")[2].rstrip("/")
    host, _, path = place.partition("/")
    host = HUB if host.lower() in _HUB_NAMES else host.lower()
    return f"{host}/{path}" if path and path not in ("v1", "v2") else host


def _unusable(path: Path, cause: str, registry: str = "REGISTRY") -> BangerError:
    return BangerError(
        f"cannot use {quoted(str(path))}",
        cause=cause,
        hints=[f"docker login {registry}", "or mend the file"],
    )
