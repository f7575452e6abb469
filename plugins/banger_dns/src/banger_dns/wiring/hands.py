"""Files and services of the system, changed by root: this user, or by way of sudo."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shlex
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from banger_core.api import BangerError, HostNotReady

PATIENCE = 60.0
"""Seconds that a program may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file is: bytes, mode and owner."""

    data: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


class Hands:
    """Does the work, with ``prefix`` before each command when this user is not root."""

    def __init__(self, prefix: Sequence[str] | None = None) -> None:
        own = () if os.geteuid() == 0 else ("sudo", "-n")
        self._prefix = tuple(own if prefix is None else prefix)

    def check(self) -> None:
        """Raise HostNotReady when this user cannot act as root."""
        if not self._prefix:
            return
        hints = ["sudo -v, then run the same command again"]
        if not shutil.which(self._prefix[0]):
            raise HostNotReady(
                "only root can change this host's resolver",
                cause=f"this is uid {os.geteuid()}, and there is no {self._prefix[0]}",
                hints=["run the same command as root"],
            )
        if subprocess.run([*self._prefix, "true"], capture_output=True, check=False).returncode:
            raise HostNotReady(
                "only root can change this host's resolver",
                cause="sudo wants a password, and is not asked for one here",
                hints=hints,
            )

    def read(self, path: Path) -> Content | None:
        """Return what is there; None when nothing is. Raises BangerError for what is no file."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise HostNotReady(f"{path} cannot be read", cause=str(problem.strerror)) from problem
        with os.fdopen(handle, "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise HostNotReady(
                    f"{path} is no regular file",
                    cause="only a file can be edited, and put back as it was",
                    hints=[f"ls -l {path}"],
                )
            mode = stat.S_IMODE(facts.st_mode)
            return Content(data=file.read(), mode=mode, uid=facts.st_uid, gid=facts.st_gid)

    def write(self, path: Path, content: Content) -> None:
        """Make ``path`` this file: whole or not at all, where it can be replaced."""
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        owner = ["-o", str(content.uid), "-g", str(content.gid), "-m", f"{content.mode:o}"]
        try:
            self.run(["install", *owner, "-T", "/dev/stdin", str(fresh)], content.data)
            try:
                self.run(["mv", "-f", "-T", str(fresh), str(path)])
            except BangerError:
                # A mount, as containers have it, cannot be replaced, only written
                self.run(["cp", "-T", str(fresh), str(path)])
        finally:
            with contextlib.suppress(BangerError):
                self.run(["rm", "-f", str(fresh)])

    def remove(self, path: Path) -> None:
        """Remove a file. Idempotent."""
        self.run(["rm", "-f", str(path)])

    def make_directory(self, path: Path) -> None:
        """Make a directory that all may read."""
        self.run(["install", "-d", "-m", "755", str(path)])

    def remove_directory(self, path: Path) -> None:
        """Remove a directory if it is empty."""
        with contextlib.suppress(OSError):
            if path.is_dir() and not any(path.iterdir()):
                self.run(["rmdir", str(path)])

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> None:
        """Run a command to its end. Raises BangerError, HostNotReady when it is not there."""
        command = [*self._prefix, *argv]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                check=False,
                timeout=PATIENCE,
                env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": _path()},
            )
        except subprocess.TimeoutExpired:
            raise BangerError(
                f"{shlex.join(command)} does not end",
                cause=f"it was ended after {PATIENCE:g} s",
                hints=[shlex.join(command)],
            ) from None
        except OSError as problem:
            kind = HostNotReady if problem.errno == errno.ENOENT else BangerError
            raise kind(f"{command[0]} cannot be run", cause=str(problem.strerror)) from problem
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise BangerError(
                f"{argv[0]} failed with status {done.returncode}",
                cause=lines[-1][:300] if lines else "it says nothing",
                hints=[shlex.join(command)],
            )


def _path() -> str:
    return f"{os.environ.get('PATH') or os.defpath}:/usr/sbin:/sbin"
