"""What this host needs to use the Debian archive."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from banger_core.api import Finding, Unreachable, install_command
from banger_debian.fetch import Fetcher
from banger_debian.process import follow
from banger_debian.settings import KEYRING_PACKAGE, settings_of

if TYPE_CHECKING:
    from banger_core.api import Context

_PROGRAMS = {
    "gpgv": "every index of the archive is checked with it",
    "mmdebstrap": "images of Debian are made with it",
    "unshare": "images are made in a namespace of their own",
}
_RELEASE_MAX = 4 << 20


class DebianCheck:
    """The doctor's check ``debian``; it asks the mirrors only when ``check_mirror`` is set."""

    async def check(self, cx: Context) -> list[Finding]:
        """Look for programs, keyring and user namespaces."""
        findings = [_program(name, why) for name, why in _PROGRAMS.items()]
        findings.append(_keyring(cx))
        if os.geteuid() and shutil.which("unshare"):
            findings.append(await _namespaces())
        if settings_of(cx).check_mirror:
            findings.append(await _mirror(cx))
        return findings

    async def fix(self, cx: Context) -> list[Finding]:
        """Mend nothing: packages and id ranges are the administrator's business."""
        del cx
        return []


def _program(name: str, why: str) -> Finding:
    if shutil.which(name):
        return Finding(level="pass", subject="debian", message=f"{name} is installed")
    return Finding(
        level="fail",
        subject="debian",
        message=f"{name} is not installed",
        why=why,
        fix=install_command(name),
    )


def _keyring(cx: Context) -> Finding:
    keyring = settings_of(cx).keyring
    if keyring.is_file() and os.access(keyring, os.R_OK):
        return Finding(level="pass", subject="debian", message=f"the keyring {keyring} is here")
    return Finding(
        level="fail",
        subject="debian",
        message=f"there is no keyring {keyring}",
        why="without it nothing of the archive can be verified",
        fix=install_command(KEYRING_PACKAGE),
    )


async def _namespaces() -> Finding:
    said: list[str] = []
    probe = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "true"]
    if not await follow(probe, take=said.append):
        return Finding(level="pass", subject="debian", message="user namespaces work")
    return Finding(
        level="warn",
        subject="debian",
        message="this user cannot make Debian images",
        why=said[-1] if said else "user namespaces with subordinate ids do not work",
        fix=f"{install_command('newuidmap')}; "
        "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER",
    )


async def _mirror(cx: Context) -> Finding:
    mirror = settings_of(cx).mirror
    try:
        async with Fetcher(cx.cache_dir) as fetcher:
            await fetcher.document(f"{mirror}/dists/bookworm/InRelease", _RELEASE_MAX, {})
    except Unreachable as problem:
        return Finding(
            level="warn",
            subject="debian",
            message=f"{mirror} does not answer",
            why=problem.cause,
            fix="check the network, or set plugins.debian.mirror",
        )
    return Finding(level="pass", subject="debian", message=f"{mirror} answers")
