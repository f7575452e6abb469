"""Blobs from an origin into the cache: one download for all who want it, as long as it takes."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from banger_core.api import (
    FileLock,
    IntegrityError,
    NoSpace,
    in_thread,
    sync_directory,
)
from banger_oci.partial import Partial
from banger_oci.transfer import Cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from banger_core.api import Context
    from banger_oci.blobs import BlobStore
    from banger_oci.documents import Descriptor
    from banger_oci.transfer import Origin

PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds before the next attempt: the first after one that got further, the others after one,
two … that did not. There are as many fruitless ones in a row as pauses.
"""

MARGIN = 64 << 20
"""Bytes that must be free beyond those to be fetched."""

_POLL = 0.05


async def fetch_all(
    store: BlobStore, origin: Origin, blobs: Iterable[Descriptor], cx: Context, parallel: int
) -> None:
    """Make all ``blobs`` local, verified and durable, at most ``parallel`` at once.

    The biggest come first, so that none is left to run alone at the end. Progress is told layer
    by layer, in bytes: those that are here already once. The first failure ends the others and
    is raised: NoSpace before anything is fetched, else what ``BlobStore.fetch`` raises.
    """
    wanted: dict[str, Descriptor] = {}
    for blob in blobs:
        wanted.setdefault(blob.digest, blob)
    names = {
        digest: f"layer {number}/{len(wanted)} {digest[7:19]}"
        for number, digest in enumerate(wanted, 1)
    }
    gate = asyncio.Semaphore(parallel)

    async def fetch(blob: Descriptor) -> None:
        name = names[blob.digest]
        async with gate:
            await store.fetch(blob, origin, lambda done: cx.progress(name, done, blob.size))

    async with store.hold(wanted):
        missing = [blob for blob in wanted.values() if not store.has(blob)]
        _check_room(store, missing)
        present = wanted.keys() - {blob.digest for blob in missing}
        order = sorted(wanted.values(), key=lambda blob: (blob.digest not in present, -blob.size))
        try:
            async with asyncio.TaskGroup() as group:
                for blob in order:
                    group.create_task(fetch(blob))
        except ExceptionGroup as problems:
            first = problems.exceptions[0]
            raise first from first.__cause__
        if missing:
            await in_thread(sync_directory, store.blobs)


async def obtain(
    store: BlobStore,
    blob: Descriptor,
    origin: Origin,
    report: Callable[[int], None],
    pauses: Sequence[float] = PAUSES,
) -> None:
    """Get ``blob`` into ``store``, or wait until somebody else has got it.

    Only the holder of the lock beside the partial fetches it. All others, of this process and of
    others, watch it grow; when the holder fails or is stopped, the next one goes on from there
    with an origin of its own. Raises what ``BlobStore.fetch`` does.
    """
    path = store.partial_path(blob.digest)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    while not lock.try_acquire():
        if store.has(blob):
            return
        # Whole is what its holder has verified: told once, by whoever called
        if (here := store.fetched(blob)) < blob.size:
            report(here)
        await asyncio.sleep(_POLL)
    try:
        if not store.has(blob):
            await _fill(store, blob, origin, report, pauses)
    finally:
        lock.path.unlink(missing_ok=True)
        lock.release()


async def _fill(
    store: BlobStore,
    blob: Descriptor,
    origin: Origin,
    report: Callable[[int], None],
    pauses: Sequence[float],
) -> None:
    """Fetch the rest and verify the whole; what is wrong is fetched once more from scratch."""
    partial = Partial(store.partial_path(blob.digest), blob, report)
    try:
        if store.fetched(blob):
            await in_thread(partial.resume, on_cancel=partial.stop)
        try:
            await _complete(origin, blob, partial, pauses)
            await in_thread(partial.finish, store.path(blob.digest))
        except IntegrityError:
            partial.restart()
            await _complete(origin, blob, partial, pauses)
            await in_thread(partial.finish, store.path(blob.digest))
    except IntegrityError as problem:
        partial.restart()
        raise IntegrityError(
            f"{origin} gives a wrong blob",
            cause=f"{problem.summary}: {problem.cause}",
            hints=["banger image pull REF, later or from another registry"],
        ) from problem
    except NoSpace as problem:
        # What came would keep from others the space that is missing
        partial.restart()
        problem.cause = f"{problem.cause}; the layer takes {_mib(blob.size)}"
        problem.hints = _room_hints(store)
        raise
    finally:
        partial.close()


async def _complete(
    origin: Origin, blob: Descriptor, partial: Partial, pauses: Sequence[float]
) -> None:
    """Ask for the rest until it is here, or until asking brings nothing any more."""
    furthest, fruitless = partial.done, 0
    while partial.done < blob.size:
        cut = await _attempt(origin, blob, partial)
        if partial.done > furthest:
            furthest, fruitless = partial.done, 0
        elif cut is None:
            return
        else:
            fruitless += 1
        if cut is not None and fruitless == len(pauses):
            raise cut
        if partial.done < blob.size:
            await asyncio.sleep(pauses[fruitless])


async def _attempt(origin: Origin, blob: Descriptor, partial: Partial) -> Cut | None:
    """Let the origin pour once; return what cut it off, None when it says that was all."""
    partial.source = str(origin)
    pouring = asyncio.ensure_future(
        origin.pour(blob, partial, offset=partial.done, validator=partial.validator)
    )
    try:
        await asyncio.shield(pouring)
    except asyncio.CancelledError:
        partial.stop()
        pouring.cancel()
        await _ended(pouring)
        raise
    except Exception as problem:
        # What the sink raised may come back in the words of the origin
        if partial.problem not in (None, problem):
            raise partial.problem from problem
        if isinstance(problem, Cut):
            return problem
        raise
    if partial.problem is not None:
        raise partial.problem
    return None


async def _ended(task: asyncio.Future[Any]) -> None:
    """Wait until ``task`` has ended, however often this wait is cancelled; its error is dropped."""
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


def _check_room(store: BlobStore, missing: Iterable[Descriptor]) -> None:
    needed = sum(max(0, blob.size - store.fetched(blob)) for blob in missing)
    free = shutil.disk_usage(store.root).free
    if needed and needed + MARGIN > free:
        raise NoSpace(
            f"no room for the layers in {store.root}",
            cause=f"{_mib(needed)} are to be fetched and {_mib(MARGIN)} kept free,"
            f" {_mib(free)} are free",
            hints=_room_hints(store),
        )


def _room_hints(store: BlobStore) -> tuple[str, ...]:
    return f"df -h {store.root}", "banger image cache prune"


def _mib(size: int) -> str:
    return f"{-(-size >> 20)} MiB"
