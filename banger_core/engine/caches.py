"""What image sources keep to save downloads, pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.contracts import CachingSource
from banger_core.errors import BangerError
from banger_core.model import CacheItem

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine
    from banger_core.engine.operations import Operation


async def prune_caches(
    engine: Engine, operation: Operation, *, keep: int, dry_run: bool
) -> list[tuple[str, CacheItem]]:
    """Make every source that has a cache keep ``keep`` bytes of it at most.

    Returns what went, with its source; with ``dry_run`` what would go. A source that cannot be
    used is told about and left out. One that fails does not keep the others from being pruned;
    its error is raised in the end.
    """
    pruned: list[tuple[str, CacheItem]] = []
    failures: list[BangerError] = []
    for name, source in _caching(engine, operation):
        operation.check()
        try:
            items = await source.prune(engine.context(name, operation), keep=keep, dry_run=dry_run)
        except BangerError as problem:
            failures.append(problem)
        else:
            pruned += [(name, item) for item in items]
    if failures:
        raise failures[0]
    return pruned


def _caching(engine: Engine, operation: Operation) -> list[tuple[str, CachingSource]]:
    found = []
    sources = engine.registry.image_sources
    for name in sources.names():
        try:
            source = sources.load(name)
        except BangerError as problem:
            operation.notice(f"{name} is left out: {problem.summary}")
            continue
        if isinstance(source, CachingSource):
            found.append((name, source))
    return found
