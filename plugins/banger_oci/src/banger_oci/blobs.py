"""The cache of blobs: an OCI image layout that other tools can read too.

oci-layout, index.json, blobs/sha256/HEX     OCI image layout 1.0
partial/sha256-HEX[.json|.lock]              on its way, who gave it, who fetches it
holds/NAME                                   what somebody uses now
lock                                         for changes of what is kept
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from banger_core.api import (
    FileLock,
    HostileInput,
    Ingest,
    IntegrityError,
    NotFound,
    blob_path,
    secure_dir,
    sync_directory,
)
from banger_oci import layoutfiles, prune
from banger_oci.documents import DOCUMENT_LIMIT
from banger_oci.download import PAUSES, obtain
from banger_oci.holds import PATIENCE, Hold, held
from banger_oci.mediatypes import DOCKER_MANIFEST, OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from banger_core.api import CacheItem
    from banger_oci.documents import Descriptor
    from banger_oci.transfer import Origin


class BlobStore:
    """Blobs by digest below ``root``, which is made when it is not there.

    What has a blob's name is that blob: nothing appears under a digest before it is verified.
    All methods but ``fetch`` block, ``fetch`` does not. ``pauses`` are the seconds between the
    attempts of a download. Raises HostNotReady when ``root`` cannot be a private directory.
    """

    def __init__(self, root: Path, *, pauses: Sequence[float] = PAUSES) -> None:
        self.root = secure_dir(root)
        self.blobs = secure_dir(root / "blobs" / "sha256")
        self.partials = secure_dir(root / "partial")
        self._holds = secure_dir(root / "holds")
        self._lock = root / "lock"
        self._pauses = pauses
        if not layoutfiles.present(root):
            with self._locked():
                layoutfiles.create(root)

    def path(self, digest: str) -> Path:
        """Return where the blob with this digest is or would be. Raises IntegrityError when it is
        no ``sha256:HEX``.
        """
        return blob_path(self.root / "blobs", digest)

    def partial_path(self, digest: str) -> Path:
        """Return where its first bytes are while it is being fetched."""
        return self.partials / f"sha256-{self.path(digest).name}"

    def has(self, blob: Descriptor) -> bool:
        """Say whether the blob is here, in its right size: a damaged one is not."""
        return _size(self.path(blob.digest)) == blob.size

    def fetched(self, blob: Descriptor) -> int:
        """Return how many bytes of a blob are here that is not complete."""
        return max(0, _size(self.partial_path(blob.digest)))

    def read(self, blob: Descriptor) -> bytes:
        """Return a document, verified once more. Raises NotFound, HostileInput for one of more
        than DOCUMENT_LIMIT bytes, and IntegrityError for a damaged one, which is removed.
        """
        if blob.size > DOCUMENT_LIMIT:
            raise HostileInput(
                f"{blob.digest} is too long for a document",
                cause=f"it has {blob.size} bytes, {DOCUMENT_LIMIT} are the most",
            )
        try:
            with self.path(blob.digest).open("rb") as file:
                data = file.read(blob.size + 1)
        except FileNotFoundError:
            cause = f"{self.root} does not have it any more"
            hints = ["banger image pull REF"]
            raise NotFound("blob", blob.digest, cause=cause, hints=hints) from None
        if not _is_sound(data, blob.digest):
            self.discard(blob.digest)
            raise IntegrityError(
                f"{blob.digest} is damaged in {self.root}",
                cause="its content has changed; it has been removed",
                hints=["banger image pull REF"],
            )
        return data

    def keep(self, data: bytes, digest: str) -> None:
        """Keep a document. Raises IntegrityError when its digest is another one, and NoSpace."""
        path = self.path(digest)
        if _is_sound(data, digest) and _size(path) == len(data) and path.read_bytes() == data:
            os.utime(path)
            return
        with Ingest(self.root / "blobs", digest, len(data)) as ingest:
            ingest.write(data)
            ingest.commit()

    def discard(self, digest: str) -> None:
        """Remove a blob that turned out to be damaged, so that it is fetched again."""
        self.path(digest).unlink(missing_ok=True)

    async def fetch(
        self, blob: Descriptor, origin: Origin, report: Callable[[int], None] = lambda _: None
    ) -> Path:
        """Return the blob, which is fetched from ``origin`` when it is not here.

        ``report`` gets the bytes that are here, at last all of them; what it raises ends the
        wait. What was fetched when it ends early is used the next time. Raises Cut when the
        origin brings nothing more, IntegrityError naming it when it twice gave something else
        than was announced, NoSpace, and what ``Origin.pour`` raises.
        """
        if not self.has(blob):
            await obtain(self, blob, origin, report, self._pauses)
        report(blob.size)
        return self.path(blob.digest)

    def hold(self, digests: Iterable[str]) -> Hold:
        """Keep blobs and what is here of them from being pruned by anybody: ``with`` or ``async
        with`` it. They may be absent yet.
        """
        return Hold(self.root, self._holds, {digest: self.path(digest) for digest in digests})

    def tag(self, name: str, manifest: Descriptor) -> None:
        """Name a manifest that is here in ``index.json``, for other tools: in OCI's words, also
        when it speaks Docker's. Another one of that name loses it. Raises what ``read`` does.
        """
        document = self.read(manifest)
        if manifest.media_type == DOCKER_MANIFEST:
            document, digest = layoutfiles.in_oci_words(document)
            self.keep(document, digest)
            manifest = replace(manifest, media_type=OCI_MANIFEST, digest=digest, size=len(document))
        sync_directory(self.blobs)
        with self._locked():
            layoutfiles.name(self.root, name, layoutfiles.entry_for(name, manifest))

    def prune(self, keep: int, *, dry_run: bool = False) -> list[CacheItem]:
        """Remove what was not used for longest until ``keep`` bytes are left, never what somebody
        holds or fetches. Return what went, or with ``dry_run`` what would.
        """
        with self._locked():
            gone = prune.evict(self, held(self._holds), keep, dry_run=dry_run)
            if not dry_run:
                layoutfiles.forget_absent(self.root)
        return gone

    def _locked(self) -> FileLock:
        lock = FileLock(self._lock)
        lock.acquire(PATIENCE)
        return lock


def _is_sound(data: bytes, digest: str) -> bool:
    return f"sha256:{hashlib.sha256(data).hexdigest()}" == digest


def _size(path: Path) -> int:
    """Return the size of a regular file, -1 when there is none."""
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return -1
    return facts.st_size if stat.S_ISREG(facts.st_mode) else -1
