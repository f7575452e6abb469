"""Disks for VMs: seeds of the wanted size, and clones of them that cost almost nothing."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from errno import EBADF, EINVAL, ENOSYS, ENOTTY, ENXIO, EOPNOTSUPP, EPERM, EXDEV
from pathlib import Path

from banger_core.config.paths import secure_dir
from banger_core.errors import BangerError, UsageProblem
from banger_core.rootfs.build import RootfsFacts
from banger_core.rootfs.ext4.tools import check, make_plain, resize
from banger_core.rootfs.ext4.tools import minimum_size as least_size
from banger_core.rootfs.partial import publishing
from banger_core.rootfs.qcow2 import grow_overlay, overlay_header
from banger_core.rootfs.workseed import LABEL
from banger_core.sizes import format_size, size_argument

_FICLONE = 0x40049409
_CANNOT_SHARE = (EBADF, EINVAL, ENOSYS, ENOTTY, EOPNOTSUPP, EPERM, EXDEV)
_COPY = 64 << 20
_SECTOR = 512

Report = Callable[[int, int], None]
"""How many bytes are done, of how many."""


def minimum_disk(facts: RootfsFacts) -> int:
    """Return the size in bytes of the smallest disk that ``facts``'s root file system fits on."""
    return facts.minimum_size


def clone_disk(base: Path, target: Path, *, format: str, size: int) -> None:  # noqa: A002
    """Make ``target`` (0600) a disk of ``size`` bytes whose content is that of ``base``.

    ``qcow2`` is an overlay that keeps only what is written; ``base`` must then stay as it is.
    ``raw`` shares blocks with ``base`` where the host's file system can, else copies what is not a
    hole. What lies beyond ``base`` is zeros. Raises UsageProblem for another ``format`` or when
    ``base`` is larger than ``size``, and NoSpace; ``target`` is there whole or not at all.
    """
    if format not in ("qcow2", "raw"):
        raise UsageProblem(
            f"{format!r} is not a format of disks", cause="there is: qcow2, raw", hints=["raw"]
        )
    base = base.absolute()
    length = base.stat().st_size
    if size < length or size % _SECTOR:
        raise UsageProblem(
            f"a disk of {size} bytes cannot be made of {base.name}",
            cause=f"that has {length} bytes; sizes are multiples of {_SECTOR}",
            hints=[f"choose a multiple of {_SECTOR} that is {length} or more"],
        )
    with publishing(target) as temporary:
        if format == "qcow2":
            temporary.write_bytes(overlay_header(base, size))
        else:
            copy_sparse(base, temporary)
            os.truncate(temporary, size)


def grow_disk(disk: Path, size: int) -> None:
    """Make ``disk``, qcow2 as ``clone_disk`` makes it or raw, ``size`` bytes large, unless it is
    that large already; what is new reads as zeros. Raises UsageProblem and OSError.
    """
    if disk.suffix == ".qcow2":
        grow_overlay(disk, size)
    elif disk.stat().st_size < size:
        os.truncate(disk, size)


def make_work_disk(target: Path, size: int) -> None:
    """Make ``target`` (0600) a raw, sparse disk of ``size`` bytes with an empty ext4 file system;
    whole or not at all. Raises HostNotReady and NoSpace.
    """
    with publishing(target) as temporary:
        os.truncate(temporary, size)
        make_plain(temporary, LABEL)


def seed_for(
    base: Path, size: int, cache: Path, *, foreign: bool = False, option: str = "--disk-size"
) -> Path:
    """Return an image with the file system of ``base`` in ``size`` bytes: ``base`` itself when it
    has that size, else a copy in the directory ``cache``, resized and checked. A ``foreign``
    base, which others may change or remove, is always copied.

    It is made once; who asks meanwhile, in whatever process, waits for it. Raises UsageProblem when
    ``size``, which ``option`` asked for, is too small for the content, and NoSpace.
    """
    facts = base.stat()
    if facts.st_size == size and not foreign:
        return base
    secure_dir(cache)
    with base.open("rb") as file:
        version = hashlib.sha256(os.pread(file.fileno(), 1024, 1024))
    version.update(f"{facts.st_ino} {facts.st_size} {facts.st_mtime_ns}".encode())
    seed = cache / f"{version.hexdigest()[:16]}-{size}.ext4"
    make_once(seed, lambda: _make_seed(base, seed, size, option))
    return seed


def make_once(path: Path, make: Callable[[], object]) -> None:
    """Let ``make`` make ``path``, unless it is there; who asks meanwhile, in whatever process,
    waits for it.
    """
    if not path.exists():
        with _locked(path.with_name(f"{path.name}.lock")):
            if not path.exists():
                make()


def prune_seeds(cache: Path, used: Iterable[Path]) -> None:
    """Remove the seeds in the directory ``cache`` that are not ``used``."""
    keep = set(used)
    for seed in cache.glob("*.ext4"):
        if seed not in keep:
            seed.unlink(missing_ok=True)
            (cache / f"{seed.name}.lock").unlink(missing_ok=True)


def copy_sparse(source: Path, target: Path, report: Report | None = None) -> None:
    """Make the existing file ``target`` a copy of ``source``: by sharing its blocks where the file
    system can (reflink), else by copying what is not a hole. ``report`` gets how far it is, and
    may raise to stop. Raises OSError.
    """
    with source.open("rb") as original, target.open("r+b") as copy:
        if _share_blocks(original.fileno(), copy.fileno()):
            return
        size = os.fstat(original.fileno()).st_size
        os.truncate(copy.fileno(), 0)
        os.truncate(copy.fileno(), size)
        for start, end in data_ranges(original.fileno(), size):
            for at in range(start, end, _COPY):
                if report is not None:
                    report(at, size)
                _copy_range(original.fileno(), copy.fileno(), at, min(end, at + _COPY))


def _make_seed(base: Path, seed: Path, size: int, option: str) -> None:
    old = base.stat().st_size
    if size < old and size < (needed := least_size(base)):
        raise UsageProblem(
            f"a disk of {format_size(size)} is smaller than its content",
            cause=f"at least {format_size(needed)} are needed",
            hints=[f"{option} {size_argument(needed)}"],
        )
    with publishing(seed) as temporary:
        copy_sparse(base, temporary)
        os.truncate(temporary, max(size, old))
        if size != old:
            resize(temporary, size)
            os.truncate(temporary, size)
        check(temporary)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # Unlike store.locks this waits without polling: resizing takes a second, not a lifetime
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _share_blocks(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as problem:
        if problem.errno in _CANNOT_SHARE:
            return False
        raise
    return True


def data_ranges(handle: int, size: int, end: int = 0) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what is not a hole, from ``end`` on up to ``size``."""
    while end < size:
        try:
            start = os.lseek(handle, end, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno == ENXIO:
                return
            raise
        end = os.lseek(handle, start, os.SEEK_HOLE)
        yield start, end


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(source, target, end - start, start, start)
        except OSError as problem:
            if problem.errno not in _CANNOT_SHARE:
                raise
            done = os.pwrite(target, os.pread(source, min(end - start, 1 << 20), start), start)
        if not done:
            raise BangerError(
                "the disk to be copied became shorter meanwhile",
                cause="somebody else writes to it",
                hints=["run the command again when nobody writes to it"],
            )
        start += done
