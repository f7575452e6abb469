"""HTTP/1.1: one request, one answer. What an answer means is decided elsewhere.

Redirects are not followed, nothing is decompressed, there are no cookies, and no credentials but
those in the headers that are given. Blocking reads in threads, three at once, are the fastest way
that can still be ended within a moment.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Self, TypeVar

import httpcore

from banger_core.api import HostileInput, Unreachable, in_thread, quoted, trusted_context
from banger_oci.patience import Patience
from banger_oci.proxies import Proxy, proxy_for
from banger_oci.urls import Ground, Url, ground_of, literal
from banger_oci.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

_IDLE_MAX = 30.0
_SHORT = 16 << 10
_HOPELESS = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


class Passing(Exception):
    """A failure that may be gone at the next attempt; ``after`` seconds when the server said."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Answer:
    """A server's answer whose body is still to be read. Has to be closed."""

    def __init__(
        self, url: Url, response: httpcore.Response, line: _Line, patience: Patience
    ) -> None:
        self.url, self.status = url, response.status
        self._response, self._line, self._patience = response, line, patience
        self._finished = self._closed = False

    def headers(self, name: str) -> list[str]:
        """Return the values of every header of this name, in order."""
        wanted = name.lower().encode()
        return [
            value.decode("latin-1")
            for key, value in self._response.headers
            if key.lower() == wanted
        ]

    def header(self, name: str) -> str:
        """Return the value of the first header of this name; "" when there is none."""
        return next(iter(self.headers(name)), "")

    async def pour(self, take: Callable[[bytes], None]) -> None:
        """Give the body to ``take``, which is called in a thread, as it comes.

        Raises what ``take`` raises, and Passing when the body ends too early or hardly moves.
        """
        await self._line.work(self._pour, take)

    async def read(self, limit: int) -> bytes:
        """Return the body, or its first ``limit`` + 1 bytes when it is longer. Raises Passing."""
        body = bytearray()

        def take(chunk: bytes) -> None:
            body.extend(chunk)
            if len(body) > limit:
                raise _Enough

        try:
            async with asyncio.timeout(self._patience.document):
                await self.pour(take)
        except _Enough:
            del body[limit + 1 :]
        except TimeoutError:
            raise Passing("its answer takes too long") from None
        return bytes(body)

    async def step(self, do: Callable[..., T], *arguments: object) -> T:
        """Run ``do`` in the thread that the body is poured in."""
        return await self._line.work(do, *arguments)

    async def drop(self) -> None:
        """Close, after a look whether the body is so short that the connection can be kept."""
        try:
            with suppress(Passing):
                await self.read(_SHORT)
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the connection; it is used again when the body was read to its end."""
        if not self._closed:
            self._closed = True
            self._line.release(reusable=self._finished)

    def _pour(self, take: Callable[[bytes], None]) -> None:
        patience = self._patience
        since, taken = patience.clock(), 0
        for chunk in self._chunks():
            take(chunk)
            taken += len(chunk)
            if (now := patience.clock()) - since >= patience.window:
                if taken < patience.least:
                    raise Passing(f"it sent {taken} bytes in {now - since:.0f} seconds")
                since, taken = now, 0
        self._finished = True

    def _chunks(self) -> Iterator[bytes]:
        try:
            yield from self._response.iter_stream()
        except httpcore.ReadTimeout as problem:
            raise Passing("it stopped sending") from problem
        except (httpcore.NetworkError, httpcore.ProtocolError) as problem:
            raise Passing(f"the connection broke: {quoted(str(problem))}") from problem


class _Enough(Exception):
    """More is not wanted."""


class Transport:
    """Connections to any servers, kept for further requests; use it as an async context."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._addresses: dict[tuple[str, int], list[str]] = {}
        self._idle: list[_Line] = []
        self._trust: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._idle:
            self._idle.pop().end()

    async def ground(self, url: Url) -> Ground:
        """Say where the server of ``url`` is; one behind a proxy is public unless its host is an
        address. One with several addresses is where the widest is. Raises as ``send``.
        """
        if proxy_for(url):
            address = literal(url.host)
            return ground_of(address) if address else Ground.PUBLIC
        return min(ground_of(address) for address in await self._resolve(url.host, url.port))

    async def send(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        *,
        content: bytes = b"",
        home: Ground | None = None,
    ) -> Answer:
        """Send a request and return the answer once its headers are there.

        With ``home`` the server has to stand where one of ``home`` may lead to. Raises Passing,
        HostileInput for the wrong ground, and Unreachable when another attempt is no use.
        """
        proxy = proxy_for(url)
        addresses = await self._permitted(url, proxy, home)
        if url.scheme == "https" and self._trust is None:
            self._trust = await in_thread(trusted_context)
        line = self._idle.pop() if self._idle else _Line(self._idle)
        line.wire_to(proxy.host if proxy else url.host, addresses)
        request = httpcore.Request(
            method,
            httpcore.URL(
                scheme=url.scheme.encode(),
                host=url.host.encode(),
                port=url.port,
                target=url.target.encode(),
            ),
            headers=[("Host", url.site), *headers.items(), *_framing(method, content)],
            content=content,
            extensions={"timeout": self._steps()},
        )
        try:
            response = await line.ask(request, proxy, self._trust, self._patience)
            return Answer(url, response, line, self._patience)
        except BaseException:
            line.release(reusable=False)
            raise

    def _steps(self) -> dict[str, float]:
        steps = self._patience
        return {"connect": steps.connect, "read": steps.read, "write": steps.read, "pool": 1.0}

    async def _permitted(self, url: Url, proxy: Proxy | None, home: Ground | None) -> list[str]:
        """Return the addresses to connect to: checked, so that no name leads elsewhere."""
        if proxy is None:
            found = await self._resolve(url.host, url.port)
            allowed = [one for one in found if home is None or home.may_lead_to(ground_of(one))]
        else:
            address = literal(url.host)
            barred = home is not None and address and not home.may_lead_to(ground_of(address))
            allowed = [] if barred else await self._resolve(proxy.host, proxy.port)
        if not allowed:
            raise HostileInput(
                f"refused to go to {url.site}",
                cause="a server leads from outside to an address inside this host or network",
            )
        return allowed

    async def _resolve(self, host: str, port: int) -> list[str]:
        if address := literal(host):
            return [address]
        if known := self._addresses.get((host, port)):
            return known
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience.connect):
                # Cannot be stopped, so it is left to itself when nobody waits any more
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise Passing(f"nobody says where {host} is") from None
        except (socket.gaierror, UnicodeError) as problem:
            if isinstance(problem, socket.gaierror) and problem.errno not in _HOPELESS:
                raise Passing(f"nobody says where {host} is: {problem.strerror}") from problem
            raise Unreachable(
                f"cannot find {host}",
                cause="no server has this name",
                hints=[f"getent hosts {host}", "check the spelling of the reference"],
            ) from problem
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        # A zone cannot be checked, and no registry needs one
        self._addresses[host, port] = [one for one in addresses if "%" not in one]
        return self._addresses[host, port]


def _framing(method: str, content: bytes) -> list[tuple[str, str]]:
    return [] if method == "GET" else [("Content-Length", str(len(content)))]


class _Line:
    """The connections of one exchange at a time, and the thread that works on them."""

    def __init__(self, idle: list[_Line]) -> None:
        self._idle = idle
        self._addresses: dict[str, list[str]] = {}
        self._wire = Wire(self._addresses)
        self._thread = ThreadPoolExecutor(1, "banger-oci")
        self._pools: dict[tuple[Proxy | None, bool], httpcore.ConnectionPool] = {}
        self._response: httpcore.Response | None = None

    def wire_to(self, host: str, addresses: list[str]) -> None:
        """Take note of where ``host`` is."""
        self._addresses[host] = addresses

    async def ask(
        self,
        request: httpcore.Request,
        proxy: Proxy | None,
        trust: ssl.SSLContext | None,
        patience: Patience,
    ) -> httpcore.Response:
        """Send the request; return the answer's head."""
        pool = self._pool(proxy, trust)
        try:
            async with asyncio.timeout(patience.head):
                self._response = await self.work(pool.handle_request, request)
        except TimeoutError:
            raise Passing("it does not answer in time") from None
        except ssl.SSLCertVerificationError as problem:
            raise Unreachable(
                f"{request.url.host.decode()} does not prove who it is",
                cause=f"its certificate: {problem.verify_message}",
                hints=["SSL_CERT_FILE=FILE names another list of authorities"],
            ) from problem
        except (httpcore.TimeoutException, httpcore.NetworkError) as problem:
            raise Passing(str(problem)) from problem
        except httpcore.ProxyError as problem:
            raise Passing(f"the proxy says {quoted(str(problem))}") from problem
        except httpcore.ProtocolError as problem:
            raise Passing(f"no HTTP: {quoted(str(problem))}") from problem
        return self._response

    async def work(self, do: Callable[..., T], *arguments: object) -> T:
        """Run ``do`` in the line's thread; being cancelled ends it at once."""
        return await in_thread(do, *arguments, on_cancel=self._wire.abort, executor=self._thread)

    def release(self, *, reusable: bool) -> None:
        """Be there for the next exchange, or end."""
        response, self._response = self._response, None
        if response is not None:
            response.close()
        if reusable and not self._wire.aborted:
            self._idle.append(self)
        else:
            self.end()

    def end(self) -> None:
        """Close all connections."""
        self._wire.abort()
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        self._thread.shutdown(wait=False)

    def _pool(self, proxy: Proxy | None, trust: ssl.SSLContext | None) -> httpcore.ConnectionPool:
        key = proxy, trust is not None
        if key not in self._pools:
            self._pools[key] = httpcore.ConnectionPool(
                ssl_context=trust,
                proxy=_httpcore_proxy(proxy) if proxy else None,
                keepalive_expiry=_IDLE_MAX,
                network_backend=self._wire,
            )
        return self._pools[key]


def _httpcore_proxy(proxy: Proxy) -> httpcore.Proxy:
    host = proxy.host.encode()
    url = httpcore.URL(scheme=b"http", host=host, port=proxy.port, target=b"/")
    auth = (_raw(proxy.user), _raw(proxy.password)) if proxy.user else None
    return httpcore.Proxy(url, auth=auth)


def _raw(text: str) -> bytes:
    """Return the bytes that the environment has for ``text``."""
    return text.encode(errors="surrogateescape")
