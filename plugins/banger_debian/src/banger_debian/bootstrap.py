"""Make a root file system with mmdebstrap, as root or as a plain user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banger_core.api import (
    BangerError,
    HostNotReady,
    IntegrityError,
    NoSpace,
    Unreachable,
    install_command,
    secure_dir,
)
from banger_debian.process import follow
from banger_debian.settings import DEFAULT_KEYRING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from banger_core.api import Context
    from banger_debian.settings import DebianSettings
    from banger_debian.suites import Repository

_STAGES = {
    "running apt-get update": "reading package lists",
    "downloading packages": "downloading packages",
    "extracting archives": "unpacking the base",
    "installing essential": "installing the base",
    "installing remaining": "installing packages",
    "cleaning package lists": "cleaning up",
    "creating tarball": "packing",
}
_INDEX_LINE = re.compile(r"([0-9a-f]{64}) [ *]\S+_Packages")
_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

# Nothing of the host stays in the image: mmdebstrap copies resolv.conf and hostname, and keeps
# the options that were only for making it
_NEUTRALISE = """set -eu; umask 022; cd "$1/etc"
rm -f resolv.conf hostname dpkg/dpkg.cfg.d/99mmdebstrap
: >resolv.conf; echo localhost >hostname
printf '%s\\n' "$BANGER_SOURCES" >apt/sources.list"""
_SHOW_INDEXES = 'sha256sum "$1"/var/lib/apt/lists/*_Packages'

# A mount and process namespace of its own: when it is killed, mounts and processes are gone too
_ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
_NEEDED = ("mmdebstrap", "unshare")
_AS_USER = ("--user", "--map-root-user", "--map-auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is made: the same recipe gives the same files.

    ``indexes`` are the SHA-256 (hexadecimal) of the package indexes it is made from; ``epoch`` is
    the latest time of any file in it, in seconds.
    """

    suite: str
    variant: str
    include: tuple[str, ...]
    architecture: str
    epoch: int
    indexes: frozenset[str]


async def bootstrap(
    recipe: Recipe,
    repositories: tuple[Repository, ...],
    settings: DebianSettings,
    target: Path,
    cx: Context,
) -> None:
    """Write the root file system as a tar to the private file ``target``.

    Raises HostNotReady, Unreachable, NoSpace, and IntegrityError when signatures are wrong or the
    archive is no longer the one of the recipe. Whatever is raised, only ``target`` may be left.
    """
    for program in _NEEDED:
        if not shutil.which(program):
            raise HostNotReady(
                f"{program} is not installed",
                cause="images of Debian are made with it",
                hints=[install_command(program)],
            )
    async with _workplace(cx.cache_dir) as (place, lock):
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        watch = _Watch(recipe, cx)
        status = await follow(
            [*_wrapper(), *_command(recipe, repositories, settings, target)],
            take=watch.take,
            heed=watch.heed,
            cwd=place,
            keep_open=[lock],
            umask=0o022,
            env={
                "TMPDIR": str(place),
                "SOURCE_DATE_EPOCH": str(recipe.epoch),
                "BANGER_SOURCES": "\n".join(_sources(recipe, repositories, settings, inside=True)),
            },
        )
        if status:
            raise watch.failure(status)
        watch.check_indexes()


def _wrapper() -> list[str]:
    return [*_ALONE, *(_AS_USER if os.geteuid() else ())]


def _command(
    recipe: Recipe,
    repositories: tuple[Repository, ...],
    settings: DebianSettings,
    target: Path,
) -> list[str]:
    return [
        "mmdebstrap",
        f"--variant={recipe.variant}",
        "--mode=root",
        "--format=tar",
        f"--architectures={recipe.architecture}",
        *([f"--include={','.join(recipe.include)}"] if recipe.include else []),
        # Durability is the business of whoever keeps the finished file
        "--dpkgopt=force-unsafe-io",
        '--aptopt=Acquire::Languages "none"',
        "--skip=output/dev",
        f"--customize-hook={_SHOW_INDEXES}",
        f"--customize-hook={_NEUTRALISE}",
        recipe.suite,
        str(target),
        *_sources(recipe, repositories, settings, inside=False),
    ]


def _sources(
    recipe: Recipe,
    repositories: tuple[Repository, ...],
    settings: DebianSettings,
    *,
    inside: bool,
) -> list[str]:
    """Return the lines of sources.list, for apt on the host or for the one inside the image."""
    options = [] if inside else [f"arch={recipe.architecture}"]
    # Inside there is Debian's keyring only; without the option apt trusts all keys it has
    if not inside or settings.keyring == DEFAULT_KEYRING:
        options.append(f"signed-by={settings.keyring}")
    bracket = f"[{' '.join(options)}] " if options else ""
    return [f"deb {bracket}{one.mirror} {one.suite} main" for one in repositories]


class _Watch:
    """Follows mmdebstrap's output: progress, the indexes that it saw, and why it failed."""

    def __init__(self, recipe: Recipe, cx: Context) -> None:
        self._recipe, self._cx = recipe, cx
        self._stage, self._step = "starting", 0
        self._seen: set[str] = set()
        self._last: deque[str] = deque(maxlen=400)

    def take(self, line: str) -> None:
        self._last.append(line)
        self._cx.log.debug("mmdebstrap: %s", line)
        if found := _INDEX_LINE.fullmatch(line):
            self._seen.add(found[1])
        for number, (sign, stage) in enumerate(_STAGES.items(), 1):
            if line.startswith(f"I: {sign}"):
                self._stage, self._step = stage, number

    def heed(self) -> None:
        what = f"making Debian {self._recipe.suite}: {self._stage}"
        self._cx.progress(what, self._step, len(_STAGES))

    def check_indexes(self) -> None:
        if self._seen - {_EMPTY} != self._recipe.indexes - {_EMPTY}:
            raise IntegrityError(
                "the Debian archive has changed in the meantime",
                cause="the image was made from other package indexes than were pinned",
                hints=["run the same command again"],
            )

    def failure(self, status: int) -> BangerError:
        """Say in one of our own errors why mmdebstrap gave up."""
        output = "\n".join(self._last)
        for signs, make in _FAILURES.items():
            if found := re.search(f"^.*({signs}).*$", output, re.MULTILINE):
                return make(found[0].strip()[:300])
        complaints = [line for line in self._last if line.startswith(("E: ", "mmdebstrap: "))]
        return BangerError(
            f"mmdebstrap failed (exit status {status})",
            cause=(complaints or list(self._last) or [""])[0][:300],
            hints=["banger doctor"],
        )


def _no_space(line: str) -> BangerError:
    return NoSpace(
        "no space left to make the image",
        cause=line,
        hints=["df -h ~/.cache", "banger image delete NAME"],
    )


def _no_network(line: str) -> BangerError:
    return Unreachable(
        "the Debian mirror did not give all packages",
        cause=line,
        hints=[
            "check the network, and run the command again",
            "or set another mirror: plugins.debian.mirror",
        ],
    )


def _not_verified(line: str) -> BangerError:
    return IntegrityError(
        "the Debian mirror serves what is not properly signed",
        cause=line,
        hints=["try again later", "or set another mirror: plugins.debian.mirror"],
    )


def _no_namespaces(line: str) -> BangerError:
    if os.geteuid() == 0:
        hints = ["this root may not make namespaces: try as a plain user, or outside a container"]
    else:
        hints = [
            install_command("newuidmap"),
            "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER",
            "sudo sysctl user.max_user_namespaces=15000",
        ]
    return HostNotReady("this user cannot make a Debian image", cause=line, hints=hints)


_FAILURES = {
    r"No space left on device|Disk quota exceeded|not enough free space": _no_space,
    r"unshare: |newuidmap: |newgidmap: ": _no_namespaces,
    r"NO_PUBKEY|is not signed|Hash Sum mismatch|invalid signature|GPG error|unexpected size"
    r"|couldn't be verified|is not valid yet|is expired": _not_verified,
    r"Could not resolve|Could not connect|Failed to fetch|Temporary failure|timed out"
    r"|Unable to fetch": _no_network,
}


@asynccontextmanager
async def _workplace(cache: Path) -> AsyncIterator[tuple[Path, int]]:
    """Give a directory for the chroot, and a lock on it that its processes hold as well.

    Directories whose processes are gone, after a crash, are removed first.
    """
    home = secure_dir(cache / "build")
    for old in home.iterdir():
        with contextlib.suppress(BlockingIOError, NotADirectoryError, FileNotFoundError):
            handle = _lock(old)
            try:
                await _remove(old)
            finally:
                os.close(handle)
    place = secure_dir(home / secrets.token_hex(8))
    lock = _lock(place)
    try:
        yield place, lock
    finally:
        os.close(lock)
        await _remove(place)


def _lock(place: Path) -> int:
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


async def _remove(place: Path) -> None:
    """Remove a chroot: a plain user's has files of other ids, which only a namespace can."""
    said: list[str] = []
    remove = ["rm", "-rf", "--one-file-system", "--", str(place)]
    wrapper = ["unshare", *_AS_USER] if os.geteuid() else []
    if await follow([*wrapper, *remove], take=said.append) and place.exists():
        # Nothing was made in it when there are no namespaces to make it in
        if os.geteuid():
            await follow(remove, take=said.append)
        if place.exists():
            raise BangerError(
                f"cannot remove {place}",
                cause=said[-1] if said else "",
                hints=[f"sudo rm -rf --one-file-system {place}"],
            )
