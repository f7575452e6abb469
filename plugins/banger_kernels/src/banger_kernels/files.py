"""A kernel's files: moved, linked or copied, never through a symbolic link."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.api import HostileInput, room_in, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from banger_core.api import KernelFiles

_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)


def place_kernel(files: KernelFiles, into: Path, transfer: Callable[[Path, Path], None]) -> None:
    """Put ``files`` into the directory ``into``, in the catalogue's layout.

    Raises HostileInput for anything but regular files and directories, and NoSpace.
    """
    with room_in(into):
        _transfer_file(files.vmlinux, into / "vmlinux", transfer)
        if files.initrd is not None:
            _transfer_file(files.initrd, into / "initrd.img", transfer)
        if files.modules is not None:
            _transfer_tree(files.modules, into / "modules", transfer)
        if files.config is not None:
            _transfer_file(files.config, into / "config", transfer)


def move(source: Path, target: Path) -> None:
    """Move a file, by copying where file systems differ."""
    try:
        source.rename(target)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        _copy(source, target)
        source.unlink()
    target.chmod(0o600)


def link(source: Path, target: Path) -> None:
    """Make ``target`` a second name of the file, or a copy where that cannot be."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in _CANNOT_LINK:
            raise
        _copy(source, target)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as ``sha256:HEX``."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def sync_tree(root: Path) -> None:
    """Make a tree durable: every file, then every directory, the deepest first."""
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            handle = os.open(Path(directory, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        sync_directory(Path(directory))


def _transfer_tree(source: Path, target: Path, transfer: Callable[[Path, Path], None]) -> None:
    if not stat.S_ISDIR(source.lstat().st_mode):
        raise _refused(source)
    target.mkdir(mode=0o700)
    for part in sorted(source.iterdir()):
        if stat.S_ISDIR(part.lstat().st_mode):
            _transfer_tree(part, target / part.name, transfer)
        else:
            _transfer_file(part, target / part.name, transfer)


def _transfer_file(source: Path, target: Path, transfer: Callable[[Path, Path], None]) -> None:
    if not stat.S_ISREG(source.lstat().st_mode):
        raise _refused(source)
    transfer(source, target)


def _copy(source: Path, target: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with source.open("rb") as taken, os.fdopen(os.open(target, flags, 0o600), "wb") as given:
        shutil.copyfileobj(taken, given, 1 << 20)


def _refused(path: Path) -> HostileInput:
    return HostileInput(
        f"{path.name} is not taken as part of a kernel",
        cause="only regular files and directories are, no links or devices",
    )
