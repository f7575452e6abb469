"""Looks at OpenSSH, at banger's key and at its known hosts."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from banger_core.api import Context, Finding, HostNotReady, install_command
from banger_ssh.known_hosts import HostLine, read_lines
from banger_ssh.pinfile import PINS, PinFile
from banger_ssh.pins import COMMENT

OLDEST = (8, 7)
"""Before this OpenSSH quoted paths in options by other rules."""

_PRIVATE = ("id_ed25519", PINS)


class SshCheck:
    """The doctor's check ``ssh``."""

    async def check(self, cx: Context) -> list[Finding]:
        """Look, change nothing."""
        findings = [await _client()]
        findings += _modes(cx.ssh_dir)
        findings += _pins(cx.ssh_dir)
        return findings

    async def fix(self, cx: Context) -> list[Finding]:
        """Take away other users' access to the key and the pins."""
        return list(_close(cx.ssh_dir))


async def _client() -> Finding:
    missing = [name for name in ("ssh", "ssh-keygen") if not shutil.which(name)]
    if missing:
        return Finding(
            level="fail",
            subject="ssh",
            message=f"{' and '.join(missing)} not found",
            why="banger talks to VMs with OpenSSH",
            fix=install_command(missing[0]),
        )
    said = await _version()
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", said)
    if not found:
        return Finding(level="warn", subject="ssh", message=f"ssh is not OpenSSH: {said[:80]}")
    if (int(found[1]), int(found[2])) < OLDEST:
        return Finding(
            level="warn",
            subject="ssh",
            message=f"{found[0]} is older than {OLDEST[0]}.{OLDEST[1]}",
            why="it reads quoted paths and algorithm lists differently",
        )
    return Finding(level="pass", subject="ssh", message=found[0].replace("_", " "))


async def _version() -> str:
    # ssh says its version on stderr
    child = await asyncio.create_subprocess_exec(
        "ssh", "-V", stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await child.communicate()
    return said.decode(errors="replace").strip()


def _modes(directory: Path) -> Iterator[Finding]:
    for path, mode in _open_to_others(directory):
        yield Finding(
            level="fail",
            subject="ssh",
            message=f"{path} is open to others (mode {mode:04o})",
            why="ssh refuses a key that others can read, and pins are worth what their file is",
            fix=f"chmod 600 {path}",
        )


def _open_to_others(directory: Path) -> Iterator[tuple[Path, int]]:
    for name in _PRIVATE:
        path = directory / name
        if os.path.lexists(path):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                yield path, stat.S_IMODE(mode)


def _pins(directory: Path) -> Iterator[Finding]:
    try:
        data = PinFile(directory).read()
    except HostNotReady as problem:
        yield Finding(level="fail", subject="ssh", message=problem.summary, why=problem.cause)
        return
    for name in _stale(data, directory):
        yield Finding(
            level="warn",
            subject="ssh",
            message=f"a host key is pinned for {name}.vm, which cannot be reached",
            why="the VM is gone or stopped; a new one of this name replaces the pin",
            fix=f"banger vm show {name}",
        )


def _stale(data: bytes, directory: Path) -> Iterator[str]:
    """Yield the names of VMs that are pinned and have no note."""
    for line in read_lines(data):
        if isinstance(line, HostLine) and line.comment.startswith(COMMENT):
            alias = line.hosts.split(b",")[0].decode("ascii", "replace")
            name = alias.removesuffix(".vm")
            if name != alias and not (directory / "vms" / f"{name}.json").exists():
                yield name


def _close(directory: Path) -> Iterator[Finding]:
    for path, mode in _open_to_others(directory):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
        yield Finding(level="pass", subject="ssh", message=f"{path}: mode {mode:04o} is now 0600")
