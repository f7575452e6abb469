"""What this host needs to use images from registries."""

from __future__ import annotations

import os
import shutil
import stat
from importlib.util import find_spec
from typing import TYPE_CHECKING

from banger_core.api import BangerError, Finding, format_size, in_thread, quoted
from banger_oci.blobs import BlobStore
from banger_oci.credentials import docker_file, read_config
from banger_oci.settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from banger_core.api import Context, Level

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ZSTD = ("compression.zstd", "backports.zstd", "zstandard")


class OciCheck:
    """The doctor's check ``oci``: credentials, the cache, and what unpacks layers. It asks no
    registry.
    """

    async def check(self, cx: Context) -> list[Finding]:
        """Look at Docker's configuration, the cache and the libraries."""
        file = docker_file(settings_of(cx))
        return [
            *await in_thread(lambda: list(_docker(file))),
            await in_thread(_cache, cx),
            *_libraries(),
        ]

    async def fix(self, cx: Context) -> list[Finding]:
        """Make Docker's configuration private and bring the cache down to its size."""
        settings = settings_of(cx)
        done = await in_thread(_make_private, docker_file(settings))
        if await in_thread(_cached, cx) > settings.cache_size:
            store = await in_thread(BlobStore, cx.cache_dir)
            gone = await in_thread(store.prune, settings.cache_size)
            size = format_size(sum(item.size for item in gone))
            done.append(_finding("pass", f"{size} were removed from the cache"))
        return done


def _docker(file: Path) -> Iterator[Finding]:
    """Whether Docker's configuration can be used, is private, and names helpers that are here."""
    try:
        config = read_config(file)
    except BangerError as problem:
        fix = f"chown $USER {file}" if not os.access(file, os.R_OK) else f"mend {file}"
        yield _finding("fail", problem.summary, why=problem.cause, fix=fix)
        return
    if not file.exists():
        message = f"there is no {file}: registries are asked without credentials"
        yield _finding("pass", message)
        return
    if _is_open(file):
        yield _finding(
            "warn",
            f"others can read {file}",
            why="it may hold passwords and tokens",
            fix=f"chmod 600 {file}",
        )
    else:
        yield _finding("pass", f"{file} can be read")
    for helper in sorted(_helpers(config)):
        program = f"docker-credential-{helper}"
        if "/" not in helper and shutil.which(program):
            yield _finding("pass", f"{quoted(program)[1:-1]} is installed")
        else:
            yield _finding(
                "warn",
                f"{quoted(program)[1:-1]} is not installed",
                why=f"{file} says that it keeps credentials",
                fix=f"install it, or remove it from {file}",
            )


def _is_open(file: Path) -> bool:
    """Whether others can read the file, and its directory does not keep them out."""
    return bool(file.stat().st_mode & _OTHERS and file.parent.stat().st_mode & _OTHERS)


def _helpers(config: Mapping[str, object]) -> set[str]:
    named = config.get("credHelpers")
    found = list(named.values()) if isinstance(named, dict) else []
    return {name for name in (*found, config.get("credsStore")) if name and isinstance(name, str)}


def _make_private(file: Path) -> list[Finding]:
    """Take others' rights away where the file is the user's own."""
    try:
        facts = file.lstat()
    except OSError:
        return []
    own = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
    if not own or not facts.st_mode & _OTHERS or not _is_open(file):
        return []
    file.chmod(stat.S_IMODE(facts.st_mode) & ~_OTHERS)
    return [_finding("pass", f"{file} can be read by nobody else now")]


def _cache(cx: Context) -> Finding:
    budget, used = settings_of(cx).cache_size, _cached(cx)
    message = f"the cache holds {format_size(used)} of {format_size(budget)}"
    if used <= budget:
        return _finding("pass", message)
    return _finding(
        "warn",
        message,
        why="it is trimmed only after a pull",
        fix="banger image cache prune, or a larger plugins.oci.cache_size",
    )


def _cached(cx: Context) -> int:
    """Bytes of all blobs in the cache, whole and partial; nothing is made or changed."""
    total = 0
    for name in ("blobs/sha256", "partial"):
        for path in (cx.cache_dir / name).glob("*"):
            try:
                total += path.lstat().st_size
            except FileNotFoundError:
                continue
    return total


def _libraries() -> Iterator[Finding]:
    if any(map(_is_there, _ZSTD)):
        yield _finding("pass", "layers packed with zstd can be read")
    else:
        yield _finding(
            "fail",
            "layers packed with zstd cannot be read",
            why="no Python library for zstd is installed",
            fix="python -m pip install backports.zstd",
        )
    if _is_there("isal"):
        yield _finding("pass", "layers packed with gzip are read fast")
    else:
        yield _finding(
            "warn",
            "layers packed with gzip are read slowly",
            why="isal is not installed; zlib takes more than twice as long",
            fix="python -m pip install isal",
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _finding(level: Level, message: str, *, why: str = "", fix: str = "") -> Finding:
    return Finding(level=level, subject="oci", message=message, why=why, fix=fix)
