"""Blobs of the cache as layers: streams of entries, verified while they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from banger_core.api import BangerError, HostileInput, HostNotReady, IntegrityError, read_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from banger_core.api import Entry
    from banger_oci.documents import Descriptor

T = TypeVar("T")


class BlobLayer:
    """One layer of the image ``ref``, from the file ``path`` of the cache.

    What counts is the digest of the unpacked layer, ``diff_id``: whichever bytes unpack to that
    are the layer. For the same reason compression is told by the first bytes and not by the media
    type: a wrong one could only make a layer unreadable that is in order, as some tools write it.
    Readers that are still open when ``stack`` ends are closed then, with their threads.
    """

    def __init__(
        self, blob: Descriptor, diff_id: str, path: Path, ref: str, stack: ExitStack
    ) -> None:
        self.digest = blob.digest
        self._diff_id, self._path, self._ref, self._stack = diff_id, path, ref, stack

    def entries(self) -> Iterator[Entry]:
        """Yield the entries, whiteouts among them.

        Raises IntegrityError and HostileInput, at the latest after the last entry. When it is the
        cache that is damaged, the blob is removed, so that the next pull fetches it again.
        """
        reader = self._read()
        self._stack.callback(reader.close)
        return reader

    def _read(self) -> Generator[Entry, None, None]:
        try:
            with closed(read_layer(self._path, diff_id=self._diff_id)) as entries:
                for entry in entries:
                    entry.path = tidy(entry.path)
                    yield entry
        except (IntegrityError, HostileInput) as problem:
            raise self._explained(problem) from problem
        except OSError as problem:
            raise gone(self._ref, problem.strerror or "") from problem

    def _explained(self, problem: BangerError) -> BangerError:
        """Say whether the image is at fault or the cache, and mend the cache."""
        if not _is_intact(self._path, self.digest):
            self._path.unlink(missing_ok=True)
            return IntegrityError(
                f"a layer of {self._ref} was damaged in the cache",
                cause=f"{self._path} was not what had been fetched any more; it is removed",
                hints=["run the same command again: the layer is fetched anew"],
            )
        return type(problem)(
            f"a layer of {self._ref} cannot be used: {problem.summary}",
            cause=f"{self.digest[:19]}: {problem.cause}",
            hints=[*problem.hints, "take another version of the image, and tell who made it"],
        )


def tidy(path: bytes) -> bytes:
    """Return a path without what archives write around it: ``./``, and slashes at its ends."""
    if path[:1] in (b".", b"/") or path[-1:] == b"/":
        path = path.strip(b"/")
        while path.startswith(b"./"):
            path = path[2:].lstrip(b"/")
    return path or b"."


def gone(ref: str, cause: str) -> HostNotReady:
    """Return the error for a layer that was fetched and is not in the cache any more."""
    return HostNotReady(
        f"{ref} is not in the cache any more", cause=cause, hints=[f"banger image pull {ref}"]
    )


@contextmanager
def closed(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Give ``items``, and close them afterwards when they are a generator."""
    try:
        yield items
    finally:
        if isinstance(items, Generator):
            items.close()


def _is_intact(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest
    except OSError:
        return False
