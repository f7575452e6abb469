"""Read a bundle: everything is checked against its manifest before anybody uses it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from banger_core.bundle.manifest import (
    MANIFEST,
    MANIFEST_MAX,
    MODULES,
    BundledFile,
    Manifest,
    read_manifest,
)
from banger_core.bundle.parts import SparseDigest
from banger_core.config.paths import secure_dir
from banger_core.errors import HostileInput, IntegrityError
from banger_core.kernel.intake import ModuleTree
from banger_core.model import Entry, EntryKind
from banger_core.quoting import quoted
from banger_core.rootfs.stream import open_layer
from banger_core.rootfs.tar import read_tar
from banger_core.store.content import create_private, room_in

Report = Callable[[str, int, int], None]


def peek(bundle: Path) -> tuple[Manifest, str] | None:
    """Return the manifest of ``bundle`` and its digest (``sha256:HEX``), which stands for all
    files; None for an archive that does not begin with one. Raises as ``unpack_bundle`` does.
    """
    with told_of(bundle), members(bundle) as entries:
        entry = next(entries, None)
        ours = entry is not None and entry.path == MANIFEST.encode()
        return _read_manifest(entry) if ours else None


def unpack_bundle(bundle: Path, into: Path, digest: str, report: Report) -> None:
    """Write the files of ``bundle``, whose manifest has ``digest``, into the empty directory
    ``into``.

    Raises HostileInput for what is no bundle, IntegrityError for damage and for another manifest,
    and NoSpace.
    """
    with told_of(bundle), room_in(into), members(bundle) as entries:
        manifest, found = _read_manifest(next(entries, None))
        if found != digest:
            raise IntegrityError("it changed while it was read", cause=f"its manifest has {found}")
        modules = ModuleTree(into / "kernel" / "modules")
        done, total = 0, manifest.space
        secure_dir(into / "kernel")
        for file in manifest.files:
            entry = _expected(file, next(entries, None))

            def tell(size: int, before: int = done) -> None:
                report("unpacking", min(before + size, total - 1), total)

            if file.path.startswith(MODULES):
                modules.write(file.path.removeprefix(MODULES), _plain(file, entry))
            elif file.sparse:
                _write_sparse(file, entry, into / file.path, tell)
            else:
                _write(into / file.path, _plain(file, entry))
            done += file.stored
            tell(0)
        if (more := next(entries, None)) is not None:
            raise HostileInput("it has more than its manifest says", cause=quoted(more.path))
        report("unpacking", total, total)


@contextmanager
def members(archive: Path) -> Iterator[Iterator[Entry]]:
    """Give the members of a packed or plain tar archive. Nothing is unpacked."""
    stream = open_layer(archive)
    try:
        yield read_tar(stream)
    finally:
        if isinstance(stream, Generator):
            # Or the thread that reads ahead would stay
            stream.close()


@contextmanager
def told_of(bundle: Path) -> Iterator[None]:
    """Make every complaint about the content of ``bundle`` say which file it is about."""
    try:
        yield
    except (HostileInput, IntegrityError) as problem:
        raise type(problem)(
            f"{bundle.name} is not imported",
            cause=": ".join(filter(None, (problem.summary, problem.cause))),
            hints=problem.hints or ["fetch or export it again"],
        ) from problem


def _read_manifest(entry: Entry | None) -> tuple[Manifest, str]:
    if entry is None or entry.path != MANIFEST.encode() or entry.kind is not EntryKind.FILE:
        raise HostileInput("it is no bundle", cause=f"its first member is not {MANIFEST}")
    if entry.size > MANIFEST_MAX:
        raise HostileInput("its manifest is too big", cause=f"{entry.size} bytes")
    data = b"".join(without_holes(entry))
    return read_manifest(data), f"sha256:{hashlib.sha256(data).hexdigest()}"


def _expected(file: BundledFile, entry: Entry | None) -> Entry:
    if entry is None:
        raise IntegrityError("it is not whole", cause=f"{file.path} is missing")
    if entry.path != file.path.encode():
        raise HostileInput(
            "its members are not those of its manifest",
            cause=f"{quoted(entry.path)} is where {file.path} should be",
        )
    if entry.kind is not EntryKind.FILE:
        raise HostileInput(f"its {file.path} is a {entry.kind.value}", cause="files are allowed")
    if entry.size != file.size:
        raise IntegrityError(
            f"its {file.path} is not what was promised",
            cause=f"it has {entry.size} bytes, {file.size} were promised",
        )
    return entry


def without_holes(entry: Entry) -> Iterator[bytes]:
    """Yield the content of a member that has no reason to be sparse. Raises HostileInput."""
    for chunk in entry.data or ():
        if isinstance(chunk, int):
            raise HostileInput(f"{quoted(entry.path)} is sparse", cause="only a disk may be")
        yield bytes(chunk)


def _plain(file: BundledFile, entry: Entry) -> Iterator[bytes]:
    found = hashlib.sha256()
    for chunk in without_holes(entry):
        found.update(chunk)
        yield chunk
    _compare(file, found.hexdigest())


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    with os.fdopen(create_private(path), "wb") as file:
        for chunk in chunks:
            file.write(chunk)


def _write_sparse(file: BundledFile, entry: Entry, path: Path, tell: Callable[[int], None]) -> None:
    digest = SparseDigest()
    with os.fdopen(create_private(path), "wb") as target:
        for chunk in entry.data or ():
            if isinstance(chunk, int):
                digest.hole(chunk)
                target.seek(chunk, os.SEEK_CUR)
                continue
            digest.data(chunk)
            if digest.stored > file.stored:
                raise HostileInput(f"its {file.path} has more in it than its manifest says")
            target.write(chunk)
            tell(digest.stored)
        target.truncate(file.size)
        target.flush()
        os.fsync(target.fileno())
    _compare(file, digest.hexdigest())


def _compare(file: BundledFile, found: str) -> None:
    if found != file.sha256:
        raise IntegrityError(
            f"its {file.path} is not what was promised",
            cause=f"its digest is {found}, promised was {file.sha256}",
        )
