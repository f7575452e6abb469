"""Entries of the catalogue as directories: made, described and removed whole."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.api import (
    IntegrityError,
    KernelEntry,
    UsageProblem,
    room_in,
    sync_directory,
    write_atomic,
)
from banger_kernels.digests import write_digests
from banger_kernels.files import digest, move, place_kernel, sync_tree
from banger_kernels.manifest import MANIFEST, Manifest, is_name, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from banger_core.api import KernelFiles, KernelPin

# In the making; replaced, to be put back if its successor never came; removed
_NEW, _OLD, _GONE = ".new-", ".old-", ".gone-"
_LOCK = ".lock"
_OPTIONAL = ("initrd.img", "modules", "config")


def check_name(name: str) -> None:
    """Raise UsageProblem when a kernel may not be called that."""
    if not is_name(name):
        raise UsageProblem(
            f"{name[:100]!r} is not a kernel's name",
            cause="letters, digits, '.', '-' and '_' are allowed, and no '.' at the beginning",
            hints=["call it mine-6.12"],
        )


def names(kernels: Path) -> list[str]:
    """Return the names of all entries, broken ones too."""
    return sorted(one.name for one in kernels.iterdir() if not one.name.startswith("."))


def exists(entry: Path) -> bool:
    """Say whether anything has that name, a dangling link included."""
    return os.path.lexists(entry)


def describe(entry: Path) -> KernelEntry:
    """Return the row of one entry, with ``problem`` set when it cannot be used."""
    try:
        _check_shape(entry)
        manifest = read_manifest(entry / MANIFEST, entry.name)
        size = (entry / "vmlinux").stat().st_size
    except OSError as problem:
        return _broken(entry, f"{Path(problem.filename or entry).name}: {problem.strerror}")
    except ValueError as problem:
        return _broken(entry, str(problem))
    return KernelEntry(
        name=manifest.name,
        distro=manifest.distro,
        architecture=manifest.arch,
        version=manifest.kernel_version,
        digest=f"sha256:{manifest.sha256}",
        source=manifest.source,
        imported_at=manifest.imported_at,
        size=size,
    )


def add(entry: Path, pin: KernelPin, files: KernelFiles, *, replace: bool) -> None:
    """Make ``entry`` of ``files``, taking them away from where they are.

    The old entry stays until the new one is complete and durable. Raises FileExistsError when
    there is one and ``replace`` is false, IntegrityError and NoSpace.
    """
    kernels = entry.parent
    new = _beside(entry, _NEW)
    with _alone(kernels), room_in(kernels):
        if exists(entry) and not replace:
            raise FileExistsError(entry)
        try:
            new.mkdir(mode=0o700)
            place_kernel(files, new, move)
            _check_kernel(new / "vmlinux", pin.name)
            write_digests(new)
            write_atomic(new / MANIFEST, _manifest(pin, new).to_text())
            sync_tree(new)
            _swap(new, entry)
        finally:
            discard(new)


def remove(entry: Path) -> None:
    """Remove an entry, whatever it is."""
    with _alone(entry.parent):
        gone = _beside(entry, _GONE)
        entry.rename(gone)
        sync_directory(entry.parent)
        discard(gone)


def sweep(kernels: Path) -> None:
    """Finish what an interrupted ``add`` or ``remove`` left, unless one is running."""
    left = [one for one in kernels.iterdir() if one.name.startswith((_NEW, _OLD, _GONE))]
    if not left:
        return
    with suppress(BlockingIOError), _alone(kernels, wait=False):
        for path in left:
            entry = kernels / path.name.removeprefix(_OLD).rpartition(".")[0]
            if path.name.startswith(_OLD) and not exists(entry):
                path.rename(entry)
            discard(path)


def discard(path: Path) -> None:
    """Remove a file, link or tree if it is there; links are not followed."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(facts.st_mode):
        shutil.rmtree(path)
    else:
        path.unlink()


def _broken(entry: Path, problem: str) -> KernelEntry:
    return KernelEntry(name=entry.name, problem=problem)


def _manifest(pin: KernelPin, new: Path) -> Manifest:
    return Manifest(
        name=pin.name,
        distro=pin.distro,
        arch=pin.architecture,
        kernel_version=pin.version,
        sha256=digest(new / "vmlinux").removeprefix("sha256:"),
        source=pin.source,
        imported_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


def _swap(new: Path, entry: Path) -> None:
    """Put ``new`` in the place of ``entry``; should that fail, the old one is put back."""
    old = _beside(entry, _OLD)
    replacing = exists(entry)
    if replacing:
        entry.rename(old)
    try:
        new.rename(entry)
    except OSError:
        if replacing:
            old.rename(entry)
        raise
    sync_directory(entry.parent)
    discard(old)


def _beside(entry: Path, prefix: str) -> Path:
    return entry.with_name(f"{prefix}{entry.name}.{secrets.token_hex(6)}")


def _check_shape(entry: Path) -> None:
    """Raise ValueError or OSError unless all parts are what they should be, and no links."""
    for part, kind, what in (
        (entry, stat.S_ISDIR, "directory"),
        (entry / MANIFEST, stat.S_ISREG, "regular file"),
        (entry / "vmlinux", stat.S_ISREG, "regular file"),
        (entry / "initrd.img", stat.S_ISREG, "regular file"),
        (entry / "modules", stat.S_ISDIR, "directory"),
        (entry / "config", stat.S_ISREG, "regular file"),
    ):
        if part.name in _OPTIONAL and not exists(part):
            continue
        facts = part.lstat()
        if not kind(facts.st_mode):
            raise ValueError(f"{part.name} is not a {what}")
        if what == "regular file" and not facts.st_size:
            raise ValueError(f"{part.name} is empty")


def _check_kernel(vmlinux: Path, name: str) -> None:
    with vmlinux.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            raise IntegrityError(
                f"kernel {name} cannot be kept", cause="its vmlinux is not an ELF file"
            )


@contextmanager
def _alone(kernels: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep other writers of the catalogue out. Raises BlockingIOError rather than wait."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(kernels / _LOCK, flags, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)
