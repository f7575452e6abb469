"""Files that are there whole or not at all, and files named by what is in them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from banger_core.config.paths import secure_dir
from banger_core.errors import IntegrityError, NoSpace

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_SUFFIX = ".partial"


def write_atomic(path: Path, data: bytes | str | Iterable[bytes], mode: int = 0o600) -> None:
    """Replace ``path`` by a file with this content, durably; readers see the old or the new one.

    The directory must exist. Raises NoSpace when it is full; nothing is left behind then.
    """
    if isinstance(data, str):
        data = data.encode()
    with _Partial(path, mode) as partial:
        for chunk in (data,) if isinstance(data, bytes) else data:
            partial.write(chunk)
        partial.publish()


def create_private(path: Path) -> int:
    """Create a new file (0600) and return its handle. Raises FileExistsError for anything that
    is there, a link as well.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def blob_path(root: Path, digest: str) -> Path:
    """Return where ``root`` keeps the content with this digest: ``root/sha256/HEX``.

    Raises IntegrityError when ``digest`` is not ``sha256:`` and 64 lower-case digits.
    """
    match = _DIGEST.fullmatch(digest)
    if not match:
        raise IntegrityError("malformed digest", cause=f"{digest[:100]!r} is no sha256:HEX")
    return root / "sha256" / match[1]


def sweep(directory: Path) -> int:
    """Remove what interrupted writers left in ``directory``; return how many files went.

    For start-up, before anybody writes there.
    """
    leftovers = list(directory.glob(f".*{_SUFFIX}"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


class Ingest:
    """Takes in bytes that must have a known digest; they appear only once they are verified.

        with Ingest(root, digest, size) as ingest:
            for chunk in chunks:
                ingest.write(chunk)
            path = ingest.commit()

    ``size`` in bytes, None when it is not known. Leaving the block without ``commit`` leaves
    nothing behind. Raises IntegrityError and NoSpace.
    """

    def __init__(self, root: Path, digest: str, size: int | None = None) -> None:
        self._path = blob_path(root, digest)
        self._digest, self._size = digest, size
        self._hash = hashlib.sha256()
        self._taken = 0

    def __enter__(self) -> Self:
        self._partial = _Partial(secure_dir(self._path.parent) / self._path.name, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        self._partial.discard()

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes; more than were announced are refused at once."""
        self._taken += len(chunk)
        if self._size is not None and self._taken > self._size:
            raise IntegrityError(
                f"{self._digest} is longer than announced", cause=f"{self._size} bytes were"
            )
        self._hash.update(chunk)
        self._partial.write(chunk)

    def commit(self) -> Path:
        """Verify, make durable, and return where the content lies now."""
        if self._size not in (None, self._taken):
            raise IntegrityError(
                f"{self._digest} is shorter than announced",
                cause=f"{self._taken} of {self._size} bytes came",
            )
        if (found := f"sha256:{self._hash.hexdigest()}") != self._digest:
            raise IntegrityError(f"content does not match {self._digest}", cause=f"it has {found}")
        self._partial.publish()
        return self._path


class _Partial:
    """A new private file beside ``path`` that takes its place, or vanishes."""

    def __init__(self, path: Path, mode: int) -> None:
        self._path, self._directory = path, path.parent
        self._temporary = path.with_name(f".{path.name[:60]}.{secrets.token_hex(6)}{_SUFFIX}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with room_in(self._directory):
            self._handle = os.open(self._temporary, flags, 0o600)
        os.fchmod(self._handle, mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write(self, chunk: bytes | memoryview) -> None:
        rest = memoryview(chunk)
        with room_in(self._directory):
            while rest:
                rest = rest[os.write(self._handle, rest) :]

    def publish(self) -> None:
        with room_in(self._directory):
            os.fsync(self._handle)
            self._temporary.rename(self._path)
            sync_directory(self._directory)

    def discard(self) -> None:
        os.close(self._handle)
        self._temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Make the content of a file durable. No link is followed."""
    _sync(path, os.O_NOFOLLOW)


def sync_directory(directory: Path) -> None:
    """Make what was created, renamed or removed in ``directory`` durable."""
    _sync(directory, os.O_DIRECTORY)


def _sync(path: Path, flag: int) -> None:
    handle = os.open(path, os.O_RDONLY | flag | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def room_in(directory: Path) -> Iterator[None]:
    """Turn the system's word for a full disk into NoSpace that names ``directory``."""
    try:
        yield
    except OSError as problem:
        full = no_space(problem, str(directory))
        if full is None:
            raise
        raise full from problem


def no_space(problem: BaseException, place: str = "") -> NoSpace | None:
    """Return the error for a full disk, when ``problem`` is the system's word for that; else None.
    ``place`` says where, unless the problem knows the file.
    """
    if not isinstance(problem, OSError) or problem.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    # The second one is what a copy was made to
    place = place or os.fsdecode(problem.filename2 or problem.filename or "")
    return NoSpace(
        f"no space left in {place}" if place else "no space left",
        cause=problem.strerror or "",
        hints=[f"df -h {place}".strip(), "banger image delete NAME"],
    )
