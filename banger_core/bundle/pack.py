"""Write a bundle: a pax archive, perhaps packed with zstd; the same image gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from banger_core.bundle.compress import compressor
from banger_core.bundle.manifest import (
    CONFIG,
    INITRD,
    MANIFEST,
    MODULES,
    ROOTFS,
    VMLINUX,
    BundledConfig,
    BundledFile,
    BundledKernel,
    Manifest,
    write_manifest,
)
from banger_core.bundle.parts import (
    CHUNK,
    Parts,
    SparseDigest,
    digest_of,
    find_parts,
    read_into,
)
from banger_core.errors import Conflict
from banger_core.jsonable import to_json
from banger_core.kernel.intake import is_wanted
from banger_core.model import ImageRecord, KernelFiles
from banger_core.store.content import create_private, room_in

Report = Callable[[str, int, int], None]
"""``Operation.progress``: what, bytes done, bytes in all; may raise to stop."""

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Packing:
    """What goes into a bundle: its manifest, and where each of its files lies."""

    manifest: Manifest
    places: dict[str, Path]
    parts: Parts


def plan_bundle(image: ImageRecord, report: Report) -> Packing:
    """Read all files of ``image`` and write down what they are."""
    places = dict(_kernel_places(image.kernel_files))
    size = image.rootfs.stat().st_size
    parts = find_parts(image.rootfs, lambda at: report("reading the root file system", at, size))
    stored = sum(length for _, length in parts)
    digest = digest_of(image.rootfs, parts, lambda done: report("making the digest", done, stored))
    files = [_described(name, path) for name, path in places.items()]
    files.append(
        BundledFile(
            path=ROOTFS, size=digest.size, stored=stored, sparse=True, sha256=digest.hexdigest()
        )
    )
    kernel = image.kernel
    manifest = Manifest(
        format="banger-image",
        version=1,
        name=image.name,
        architecture=image.pin.architecture,  # type: ignore[arg-type]
        origin=image.pin.ref,
        config=BundledConfig.model_validate(to_json(image.pin.config)),
        kernel=BundledKernel(
            name=kernel.name, version=kernel.version, distro=kernel.distro, source=kernel.source
        ),
        files=files,
    )
    return Packing(manifest, {**places, ROOTFS: image.rootfs}, parts)


def write_bundle(packing: Packing, target: Path, *, packed: bool, report: Report) -> str:
    """Write a bundle to the new file ``target`` (0600), durably, and return its SHA-256.

    ``packed`` ones are packed with zstd. Raises Conflict when a file is not what it was when it
    was planned, HostNotReady without a library for zstd, and NoSpace. What is half written stays
    for the caller to remove.
    """
    total, done = packing.manifest.space, 0
    whole = hashlib.sha256()
    engine = compressor() if packed else None
    with room_in(target.parent), os.fdopen(create_private(target), "wb") as file:

        def write(data: bytes) -> None:
            whole.update(data)
            file.write(data)

        for chunk in _archive(packing):
            done += len(chunk)
            report("writing the bundle", min(done, total - 1), total)
            write(engine.compress(chunk) if engine else chunk)
        if engine:
            write(engine.flush())
        file.flush()
        os.fsync(file.fileno())
    report("writing the bundle", total, total)
    return whole.hexdigest()


def _archive(packing: Packing) -> Iterator[bytes]:
    manifest = write_manifest(packing.manifest)
    yield _header(MANIFEST, len(manifest))
    yield from _padded(iter([manifest]))
    for file in packing.manifest.files:
        path = packing.places[file.path]
        if file.sparse:
            yield from _sparse(file, path, packing.parts)
        else:
            yield _header(file.path, file.size)
            yield from _padded(_checked(file, path))
    yield bytes(2 * _BLOCK)


def _checked(file: BundledFile, path: Path) -> Iterator[bytes]:
    found, size = hashlib.sha256(), 0
    with path.open("rb") as source:
        while chunk := source.read(CHUNK):
            found.update(chunk)
            size += len(chunk)
            if size > file.size:
                break
            yield chunk
    if size != file.size or found.hexdigest() != file.sha256:
        raise _changed(path)


def _sparse(file: BundledFile, path: Path, parts: Parts) -> Iterator[bytes]:
    """A sparse file as pax format 1.0 (GNU tar manual, "Storing Sparse Files")."""
    listed = [*parts, (file.size, 0)]
    numbers = [len(listed), *(number for part in listed for number in part)]
    where = "".join(f"{number}\n" for number in numbers).encode()
    where += bytes(-len(where) % _BLOCK)
    records = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": file.path,
        "GNU.sparse.realsize": str(file.size),
    }
    yield _header(f"GNUSparseFile.0/{file.path}", len(where) + file.stored, records)
    yield where
    digest = SparseDigest()
    yield from _padded(read_into(digest, path, parts))
    if digest.hexdigest() != file.sha256:
        raise _changed(path)


def _padded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        yield chunk
    yield bytes(-size % _BLOCK)


def _header(name: str, size: int, records: dict[str, str] | None = None) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    member.pax_headers = records or {}
    return member.tobuf(tarfile.PAX_FORMAT)


def _kernel_places(kernel: KernelFiles) -> Iterator[tuple[str, Path]]:
    yield VMLINUX, kernel.vmlinux
    if kernel.initrd is not None:
        yield INITRD, kernel.initrd
    if kernel.config is not None:
        yield CONFIG, kernel.config
    if kernel.modules is not None:
        for path in sorted(kernel.modules.rglob("*")):
            inner = path.relative_to(kernel.modules)
            if is_wanted(inner) and stat.S_ISREG(path.lstat().st_mode):
                yield f"{MODULES}{inner}", path


def _described(name: str, path: Path) -> BundledFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    return BundledFile(path=name, size=size, stored=size, sha256=digest)


def _changed(path: Path) -> Conflict:
    return Conflict(
        f"{path} changed while it was read",
        cause="a bundle holds what its manifest says, or is not made",
        hints=["try again when nobody writes to it"],
    )
