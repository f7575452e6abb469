"""Which blobs go when the cache is too big: those that were not used for longest."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banger_core.api import CacheItem, FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from banger_oci.blobs import BlobStore

STALE = 86400.0
"""Seconds without a new byte after which a partial blob goes before all others."""

_BLOB = re.compile(r"[0-9a-f]{64}")
_PARTIAL = re.compile(r"sha256-([0-9a-f]{64})(?:\.json|\.json\.new|\.lock)?")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Something that may go. ``remove`` says whether it went."""

    item: CacheItem
    remove: Callable[[bool], bool]


def evict(store: BlobStore, held: Collection[str], keep: int, *, dry_run: bool) -> list[CacheItem]:
    """Remove partial blobs that nobody went on with, then whatever was not used for longest,
    until at most ``keep`` bytes are left. Only under the lock of the cache.
    """
    now = time.time()
    candidates = [*_partials(store), *_abandoned(store, now), *_blobs(store)]
    total = sum(candidate.item.size for candidate in candidates)
    gone = []
    for candidate in sorted(candidates, key=lambda candidate: _turn(candidate.item, now)):
        item = candidate.item
        if total <= keep:
            break
        if item.name not in held and candidate.remove(dry_run):
            gone.append(item)
            total -= item.size
    return gone


def _turn(item: CacheItem, now: float) -> tuple[bool, float, str]:
    stale = item.partial and now - item.used_at > STALE
    return not stale, item.used_at, item.name


def _blobs(store: BlobStore) -> Iterator[_Candidate]:
    for path in store.blobs.iterdir():
        if _BLOB.fullmatch(path.name) and (item := _item([path], f"sha256:{path.name}")):
            yield _Candidate(item, _remover([path]))


def _partials(store: BlobStore) -> Iterator[_Candidate]:
    """Yield what is on its way, each with the files beside it."""
    found: dict[str, list[Path]] = {}
    for path in sorted(store.partials.iterdir()):
        if match := _PARTIAL.fullmatch(path.name):
            found.setdefault(f"sha256:{match[1]}", []).append(path)
    for digest, paths in found.items():
        if item := _item(paths, digest, partial=True):
            partial = store.partial_path(digest)
            lock = FileLock(partial.with_name(f"{partial.name}.lock"))
            yield _Candidate(item, _remover(paths, lock))


def _abandoned(store: BlobStore, now: float) -> Iterator[_Candidate]:
    """Yield what writers left that were killed: theirs are short writes, so age tells."""
    for directory in (store.root, store.blobs):
        for path in directory.glob(".*.partial"):
            item = _item([path], path.name, partial=True)
            if item and now - item.used_at > STALE:
                yield _Candidate(item, _remover([path]))


def _item(paths: list[Path], name: str, *, partial: bool = False) -> CacheItem | None:
    """Return what is said about files; None when they went meanwhile."""
    try:
        facts = [path.lstat() for path in paths]
    except FileNotFoundError:
        return None
    return CacheItem(
        name=name,
        size=sum(fact.st_size for fact in facts),
        used_at=max(fact.st_mtime for fact in facts),
        partial=partial,
    )


def _remover(paths: list[Path], lock: FileLock | None = None) -> Callable[[bool], bool]:
    """Return what removes ``paths``, unless somebody has the ``lock`` on them."""

    def remove(dry_run: bool) -> bool:
        if lock and not lock.try_acquire():
            return False
        try:
            for path in [] if dry_run else paths:
                path.unlink(missing_ok=True)
            if lock:
                # Made by asking for it
                lock.path.unlink(missing_ok=True)
        finally:
            if lock:
                lock.release()
        return True

    return remove
