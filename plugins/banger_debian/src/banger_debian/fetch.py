"""HTTP: small documents into memory, verified files into the cache."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakValueDictionary

import httpx

from banger_core.api import HostileInput, Ingest, IntegrityError, Unreachable, blob_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

T = TypeVar("T")

PAUSES = (0.5, 2.0)
"""Seconds before the second and the third attempt."""

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_REDIRECTS = 5
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})

# Two operations that want one file fetch it once
_locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()


class Missing(Unreachable):
    """The server has no such file."""


class _Passing(Exception):
    """A failure that may be gone at the next attempt."""


class Fetcher:
    """Fetches over HTTP, each request up to three times; use it as an async context.

    Files go to ``cache``. Proxies are taken from the environment, as curl does.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._http = await stack.enter_async_context(
                httpx.AsyncClient(
                    timeout=_TIMEOUT,
                    follow_redirects=True,
                    max_redirects=_REDIRECTS,
                    headers={"User-Agent": "banger", "Accept-Encoding": "identity"},
                )
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def document(
        self, url: str, limit: int, validators: Mapping[str, str]
    ) -> tuple[bytes, dict[str, str]] | None:
        """Return a small document and its validators, or None when those given still hold.

        ``validators`` are request headers (If-None-Match, If-Modified-Since). Raises Missing,
        Unreachable, and HostileInput for more than ``limit`` bytes.
        """
        return await _patiently(url, lambda: self._document(url, limit, validators))

    async def file(
        self, url: str, digest: str, size: int, what: str, report: Callable[[int], None]
    ) -> Path:
        """Return the file with this content from the cache, fetching it when it is not there.

        ``report`` gets the bytes that are here so far, ``what`` names the file in errors. Raises
        Missing, Unreachable, NoSpace, and IntegrityError naming the server when it gives anything
        else; nothing is kept then.
        """
        path = blob_path(self._cache, digest)
        async with _locks.setdefault(path, asyncio.Lock()):
            if path.is_file() and path.stat().st_size == size:
                return path
            try:
                with Ingest(self._cache, digest, size) as ingest:
                    sink = _Sink(ingest, report)
                    await _patiently(url, lambda: self._pour(url, sink, size))
                    return ingest.commit()
            except IntegrityError as problem:
                raise IntegrityError(
                    f"{httpx.URL(url).host} serves a wrong {what}",
                    cause=f"{problem.summary}: {problem.cause}",
                    hints=["try again later", "or set another mirror: plugins.debian.mirror"],
                ) from problem

    async def _document(
        self, url: str, limit: int, validators: Mapping[str, str]
    ) -> tuple[bytes, dict[str, str]] | None:
        async with self._http.stream("GET", url, headers=dict(validators)) as answer:
            if answer.status_code == httpx.codes.NOT_MODIFIED and validators:
                return None
            _check_status(url, answer)
            document = bytearray()
            # What is transferred is what is signed: no transfer encoding is undone
            async for chunk in answer.aiter_raw():
                document += chunk
                if len(document) > limit:
                    raise HostileInput(
                        f"{url} is too big", cause=f"more than {limit >> 20} MiB where less is due"
                    )
            return bytes(document), _validators(answer)

    async def _pour(self, url: str, sink: _Sink, size: int) -> None:
        """Fetch what is still missing; a server that cannot resume sends it all again."""
        have = sink.taken
        headers = {"Range": f"bytes={have}-"} if have else {}
        async with self._http.stream("GET", url, headers=headers) as answer:
            _check_status(url, answer)
            resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
            if resumed and not _continues(answer, have):
                raise _Passing("it resumed in the wrong place")
            skip = 0 if resumed else have
            async for chunk in answer.aiter_raw():
                sink.take(chunk[skip:])
                skip = max(0, skip - len(chunk))
        if sink.taken < size:
            raise _Passing("it ended too early")


class _Sink:
    """Counts what goes into an ingest, over several attempts."""

    def __init__(self, ingest: Ingest, report: Callable[[int], None]) -> None:
        self._ingest, self._report = ingest, report
        self.taken = 0

    def take(self, chunk: bytes) -> None:
        self._ingest.write(chunk)
        self.taken += len(chunk)
        self._report(self.taken)


async def _patiently(url: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Try up to three times; only failures that may pass are worth it."""
    for pause in (*PAUSES, None):
        try:
            return await attempt()
        except (httpx.TransportError, _Passing) as problem:
            if pause is None:
                raise _unreachable(url, str(problem) or type(problem).__name__) from problem
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise _unreachable(url, str(problem)) from problem
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _check_status(url: str, answer: httpx.Response) -> None:
    status = answer.status_code
    if status in _WORTH_ANOTHER_TRY:
        raise _Passing(f"HTTP status {status}")
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise Missing(f"{url} does not exist", cause=f"HTTP status {status}")
    if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise _unreachable(url, f"HTTP status {status}")


def _continues(answer: httpx.Response, have: int) -> bool:
    place = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return place is not None and int(place[1]) == have


def _validators(answer: httpx.Response) -> dict[str, str]:
    pairs = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
    return {asks: answer.headers[has] for has, asks in pairs.items() if has in answer.headers}


def _unreachable(url: str, cause: str) -> Unreachable:
    host = httpx.URL(url).host
    return Unreachable(
        f"{host} did not give {url.rpartition('/')[2]}",
        cause=cause,
        hints=[f"check the network: curl -I {url}", "or set another mirror: plugins.debian.mirror"],
    )
