"""Documents and tarballs, from servers and from files: bounded, patient, never led astray."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx

from banger_core.api import (
    FileLock,
    HostileInput,
    IntegrityError,
    NoSpace,
    Unreachable,
    blob_path,
    in_thread,
    quoted,
    secure_dir,
    trusted_context,
)
from banger_kernels.partial import Partial, sweep
from banger_kernels.places import check_url, local_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

T = TypeVar("T")

PAUSES = (0.5, 1.0, 2.0)
"""Seconds before the next attempt after one, two … that brought nothing."""

STALLED = (60.0, 64 << 10)
"""Seconds in which at least that many bytes have to come."""

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_DOCUMENT_TIME = 60.0
_REDIRECTS = 5
_CHUNK = 1 << 20
_HERE = ("localhost", "127.0.0.1", "[::1]")
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Passing(Exception):
    """A failure that may be gone at the next attempt."""


class Fetcher:
    """Fetches into ``cache``; use it as an async context. Proxies are those of the environment."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    async def __aenter__(self) -> Self:
        trust = await in_thread(trusted_context)
        async with AsyncExitStack() as stack:
            self._http = await stack.enter_async_context(
                httpx.AsyncClient(
                    verify=trust,
                    timeout=_TIMEOUT,
                    follow_redirects=False,
                    headers={"User-Agent": "banger", "Accept-Encoding": "identity"},
                    # What is on this host is not asked for elsewhere
                    mounts={f"all://{host}": None for host in _HERE},
                )
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def document(self, url: str, limit: int) -> bytes:
        """Return a small file whole. Raises Unreachable, and HostileInput beyond ``limit``."""
        if urlsplit(url).scheme == "file":
            return await in_thread(_read, url, limit)
        return await self._patiently(url, lambda: self._document(url, limit))

    @asynccontextmanager
    async def file(
        self, url: str, digest: str, size: int, report: Callable[[int], None]
    ) -> AsyncIterator[Path]:
        """Fetch a file, and give its path for as long as the block lasts: nobody else has it then.

        ``report`` gets the bytes that are here so far. Who was stopped goes on where he was. The
        file is removed when the block ends, also by an error: damage would stay for ever. Raises
        Unreachable, IntegrityError and NoSpace.
        """
        target = blob_path(self._cache, digest)
        secure_dir(target.parent)
        partials = secure_dir(self._cache / "partial")
        sweep(partials)
        lock = FileLock(partials / f"{target.name}.lock")
        async with lock:
            try:
                if not target.is_file():
                    with Partial(partials, digest, size) as partial:
                        await self._fill(partial, url, target, report)
                try:
                    yield target
                finally:
                    target.unlink(missing_ok=True)
            finally:
                lock.path.unlink(missing_ok=True)

    async def _fill(
        self, partial: Partial, url: str, target: Path, report: Callable[[int], None]
    ) -> None:
        await in_thread(partial.resume)
        resumed = partial.done > 0
        try:
            try:
                await self._complete(partial, url, report)
                await in_thread(partial.finish, target)
            except IntegrityError:
                if not resumed:
                    raise
                # What was here may have been another file's beginning
                partial.restart()
                await self._complete(partial, url, report)
                await in_thread(partial.finish, target)
        except IntegrityError as problem:
            partial.discard()
            raise IntegrityError(
                f"{quoted(url)} is not the kernel that was promised",
                cause=f"{problem.summary}: {problem.cause}",
                hints=["try again later, or tell the feed's publisher"],
            ) from problem
        except NoSpace:
            partial.discard()
            raise

    async def _complete(self, partial: Partial, url: str, report: Callable[[int], None]) -> None:
        report(partial.done)
        if urlsplit(url).scheme == "file":
            partial.restart()
            await in_thread(_copy, url, partial, report)
        elif partial.done < partial.size:
            await self._patiently(
                url, lambda: self._pour(url, partial, report), lambda: partial.done
            )

    async def _document(self, url: str, limit: int) -> bytes:
        document = bytearray()
        try:
            async with asyncio.timeout(_DOCUMENT_TIME), self._get(url, {}) as answer:
                # What is transferred is what is signed: no transfer encoding is undone
                async for chunk in answer.aiter_raw():
                    document += chunk
                    if len(document) > limit:
                        raise _too_big(url, limit)
        except TimeoutError:
            raise _Passing("its answer takes too long") from None
        return bytes(document)

    async def _pour(self, url: str, partial: Partial, report: Callable[[int], None]) -> None:
        """Fetch what is still missing; a server that cannot resume sends it all again."""
        have = partial.done
        headers = {"Range": f"bytes={have}-"} if have else {}
        window, least = STALLED
        async with self._get(url, headers) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                partial.restart()
                raise _Passing("it has no more than what is here already")
            if answer.status_code == httpx.codes.PARTIAL_CONTENT:
                if not _continues(answer, have):
                    raise _Passing("it resumed in the wrong place")
            elif have:
                partial.restart()
            since, then = time.monotonic(), partial.done
            async for chunk in answer.aiter_raw():
                partial.write(chunk)
                report(partial.done)
                if (now := time.monotonic()) - since > window:
                    if partial.done - then < least:
                        raise _Passing("it hardly sends anything")
                    since, then = now, partial.done
        if partial.done < partial.size:
            raise _Passing("it ended too early")

    @asynccontextmanager
    async def _get(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """Ask for ``url`` and whatever it redirects to, as far as that is allowed."""
        for _ in range(_REDIRECTS + 1):
            async with self._http.stream("GET", url, headers=headers) as answer:
                if not answer.has_redirect_location:
                    _check_status(url, answer, ranged="Range" in headers)
                    yield answer
                    return
                url = _redirected(url, answer.headers["Location"])
        raise _unreachable(url, f"more than {_REDIRECTS} redirects")

    async def _patiently(
        self,
        url: str,
        attempt: Callable[[], Awaitable[T]],
        reached: Callable[[], int] = lambda: 0,
    ) -> T:
        """Try until nothing comes any more; only failures that may pass are worth it."""
        furthest, fruitless = reached(), 0
        while True:
            try:
                return await attempt()
            except (httpx.TransportError, _Passing) as problem:
                # Crumbs are no progress: a server could keep us with them for days
                if reached() >= furthest + STALLED[1]:
                    furthest, fruitless = reached(), 0
                if fruitless == len(PAUSES):
                    raise _unreachable(url, str(problem) or type(problem).__name__) from problem
            except (httpx.HTTPError, httpx.InvalidURL) as problem:
                raise _unreachable(url, str(problem)) from problem
            await asyncio.sleep(PAUSES[fruitless])
            fruitless += 1


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        check_url(target)
        _check_step(urlsplit(url).scheme, urlsplit(target).scheme)
    except ValueError as problem:
        raise HostileInput(
            f"{quoted(url)} redirects to where banger does not go",
            cause=f"{quoted(location)}: {problem}",
        ) from None
    return target


def _check_step(was: str, becomes: str) -> None:
    if becomes == "file":
        raise ValueError("a server cannot name a file of this host")
    if (was, becomes) == ("https", "http"):
        raise ValueError("it leads away from https")


def _check_status(url: str, answer: httpx.Response, *, ranged: bool) -> None:
    status = answer.status_code
    if ranged and status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        return
    if status in _WORTH_ANOTHER_TRY:
        raise _Passing(f"HTTP status {status}")
    if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise _unreachable(url, f"HTTP status {status}")


def _continues(answer: httpx.Response, have: int) -> bool:
    place = re.match(r"bytes (\d{1,15})-", answer.headers.get("Content-Range", ""))
    return place is not None and int(place[1]) == have


def _open(url: str) -> int:
    """Open a regular file for reading, and never wait for a pipe's other end."""
    path = local_path(url)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        raise _unreachable(url, problem.strerror or str(problem)) from problem
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _unreachable(url, "it is not a regular file")
    return handle


def _read(url: str, limit: int) -> bytes:
    with os.fdopen(_open(url), "rb") as file:
        document = file.read(limit + 1)
    if len(document) > limit:
        raise _too_big(url, limit)
    return document


def _copy(url: str, partial: Partial, report: Callable[[int], None]) -> None:
    with os.fdopen(_open(url), "rb") as file:
        while chunk := file.read(_CHUNK):
            partial.write(chunk)
            report(partial.done)


def _too_big(url: str, limit: int) -> HostileInput:
    size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
    return HostileInput(f"{quoted(url)} is too big", cause=f"more than {size} where less is due")


def _unreachable(url: str, cause: str) -> Unreachable:
    local = urlsplit(url).scheme == "file"
    where = quoted(str(local_path(url)) if local else urlsplit(url).hostname or "")[1:-1]
    name = quoted(url.rpartition("/")[2])[1:-1]
    return Unreachable(
        f"{where} cannot be read" if local else f"{where} did not give {name}",
        cause=quoted(cause, 300)[1:-1],
        hints=[f"ls -l {where}" if local else f"check the network: curl -I {quoted(url)}"],
    )
