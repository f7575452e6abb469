"""The files of a snapshot: which there are, what they hold, and whether they are still that.

    <state>/snapshots/<id>/
        vmm/…             what the driver wrote: memory and devices
        root.<format>     the root disk, and work.raw where there is a work disk
        manifest.json     the ``SnapshotRecord``, written last

Nothing here is believed: a manifest must say what the store says, and name by name, size by size
and digest by digest the directory must hold what was written, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from banger_core.errors import IntegrityError
from banger_core.jsonable import to_json
from banger_core.rootfs.disks import data_ranges
from banger_core.snapmodel import FORMAT, SnapshotFile, SnapshotRecord
from banger_core.store.content import sync_directory, sync_file, write_atomic

MANIFEST = "manifest.json"
VMM = "vmm"
"""The driver's own directory."""

_MANIFEST_LIMIT = 1 << 20
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)

Report = Callable[[int, int], None]
"""How many bytes are done, of how many."""


def describe(directory: Path, report: Report) -> tuple[SnapshotFile, ...]:
    """Make what lies in ``directory`` durable, and say what it is. Blocks. Raises OSError."""
    found = list(_files(directory))
    total = sum(path.stat().st_size for path in found)
    rows, done = [], 0
    for path in found:
        sync_file(path)
        size, digest = content_digest(path, _offset(report, done, total))
        rows.append(SnapshotFile(name=_name(path, directory), size=size, digest=digest))
        done += size
    for each in (directory / VMM, directory):
        sync_directory(each)
    return tuple(rows)


def write_manifest(directory: Path, record: SnapshotRecord) -> None:
    """Write the manifest, whole or not at all."""
    write_atomic(directory / MANIFEST, json.dumps(to_json(record), indent=1).encode())


def check(directory: Path, record: SnapshotRecord, report: Report) -> None:
    """Raise IntegrityError when the snapshot in ``directory`` is not what was written as
    ``record``. Blocks.
    """
    if record.format != FORMAT:
        raise _refused(record, f"it has form {record.format}, this banger knows {FORMAT}")
    try:
        _check_manifest(directory, record)
        found = {_name(path, directory): path for path in _files(directory)}
        wanted = {file.name: file for file in record.files}
        if found.keys() - {MANIFEST} != wanted.keys():
            odd = sorted((found.keys() - {MANIFEST}) ^ wanted.keys())
            raise _refused(record, f"missing, or not of it: {', '.join(odd)[:200]}")
        done, total = 0, sum(file.size for file in record.files)
        for name, file in wanted.items():
            size = found[name].lstat().st_size
            if size != file.size:
                raise _refused(record, f"{name} has {size} bytes, not {file.size}")
            _, digest = content_digest(found[name], _offset(report, done, total))
            if digest != file.digest:
                raise _refused(record, f"{name} is not the file that was written")
            done += size
    except OSError as problem:
        raise _refused(record, str(problem)) from problem


def content_digest(path: Path, report: Report | None = None) -> tuple[int, str]:
    """Return the size of a file and a SHA-256 over its size and, with its place, every block that
    is not all zeros: the same whatever of it is a hole, and quick where much is. Raises OSError.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(handle).st_size
        digest, at = hashlib.sha256(f"{size}\n".encode()), 0
        for start, end in data_ranges(handle, size):
            at = max(at, start - start % _BLOCK)
            while at < end:
                block = os.pread(handle, _BLOCK, at)
                if block != _ZEROS[: len(block)]:
                    digest.update(f"{at} {len(block)}\n".encode())
                    digest.update(block)
                at += _BLOCK
                if report is not None and not at % (64 * _BLOCK):
                    report(at, size)
        return size, f"sha256:{digest.hexdigest()}"
    finally:
        os.close(handle)


def size_on_disk(directory: Path) -> int:
    """Return how many bytes the files of a snapshot take; 0 when they are gone."""
    try:
        return sum(path.lstat().st_blocks * 512 for path in _files(directory))
    except (OSError, IntegrityError):
        return 0


def _check_manifest(directory: Path, record: SnapshotRecord) -> None:
    handle = os.open(directory / MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        text = file.read(_MANIFEST_LIMIT)
    try:
        said = json.loads(text)
    except ValueError as problem:
        raise _refused(record, f"its manifest cannot be read: {problem}") from problem
    if said != to_json(record):
        raise _refused(record, "its manifest is not the one that was written")


def _files(directory: Path) -> Iterator[Path]:
    """Every file there. Raises IntegrityError for anything else: no link is followed."""
    for path in (*directory.iterdir(), *(directory / VMM).iterdir()):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            yield path
        elif path != directory / VMM or not stat.S_ISDIR(mode):
            raise IntegrityError(f"{path} has no place in a snapshot")


def _name(path: Path, directory: Path) -> str:
    return str(path.relative_to(directory))


def _offset(report: Report, done: int, total: int) -> Report:
    return lambda at, _: report(done + at, total)


def _refused(record: SnapshotRecord, cause: str) -> IntegrityError:
    return IntegrityError(
        f"the snapshot {record.name} is damaged",
        cause=cause,
        hints=["banger vm snapshot list", "nothing was started or changed"],
    )
