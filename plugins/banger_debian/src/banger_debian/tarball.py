"""Finished root file systems in the cache, one tar each."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from banger_core.api import (
    IntegrityError,
    blob_path,
    read_tar,
    room_in,
    secure_dir,
    sync_directory,
    write_atomic,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from banger_core.api import Entry

# They differ between root and plain users, and apt makes them anew
_LEFT_OUT = (b"var/cache/apt/archives/partial", b"var/lib/apt/lists/partial")


class Tarball:
    """The tar of one image, and beside it a note of its size and SHA-256."""

    def __init__(self, cache: Path, digest: str) -> None:
        self._home = secure_dir(cache / "images")
        name = blob_path(cache, digest).name
        self.path = self._home / f"{name}.tar"
        self._note = self._home / f"{name}.json"

    def is_here(self) -> bool:
        """Say whether the whole image is in the cache."""
        note = self._read_note()
        try:
            return note is not None and self.path.stat().st_size == note[1]
        except OSError:
            return False

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Give a path for a new tar; what is not kept is gone afterwards."""
        new = self._home / f".{self.path.stem[:16]}.{secrets.token_hex(6)}.partial"
        try:
            with room_in(self._home):
                yield new
        finally:
            new.unlink(missing_ok=True)

    def keep(self, new: Path) -> None:
        """Make a finished tar durable and put it in place."""
        with room_in(self._home), new.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            write_atomic(self._note, json.dumps({"sha256": digest, "size": new.stat().st_size}))
            new.rename(self.path)
            sync_directory(self._home)

    def layer(self, file: IO[bytes]) -> TarLayer:
        """Return the layer that reads from the open tar."""
        note = self._read_note()
        if note is None:
            raise IntegrityError(f"{self._note.name} is damaged")
        return TarLayer(file, note[0])

    def _read_note(self) -> tuple[str, int] | None:
        try:
            note = json.loads(self._note.read_bytes())
            return str(note["sha256"]), int(note["size"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


class TarLayer:
    """A tar as a layer; what it gives is hashed while it is read."""

    def __init__(self, file: IO[bytes], sha256: str) -> None:
        self._file, self._expected = file, sha256
        self._hash = hashlib.sha256()
        self.digest = f"sha256:{sha256}"

    def read(self, count: int = -1, /) -> bytes:
        """Read on, and hash what was read."""
        data = self._file.read(count)
        self._hash.update(data)
        return data

    def entries(self) -> Iterator[Entry]:
        """Yield the entries. Raises IntegrityError after the last when the tar was changed."""
        for entry in read_tar(self):
            entry.path = entry.path.removeprefix(b"./").rstrip(b"/") or b"."
            if entry.path not in _LEFT_OUT:
                yield entry
        while self.read(1 << 20):
            pass
        if self._hash.hexdigest() != self._expected:
            raise IntegrityError(
                "an image in the cache is damaged",
                cause=f"{self._file.name} is not what was written",
                hints=[f"rm {self._file.name}", "and run the same command again"],
            )
