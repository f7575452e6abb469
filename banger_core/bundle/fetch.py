"""Fetch one file from a server: into a private place, bounded by the disk, never led astray."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from banger_core.errors import HostileInput, IntegrityError, Unreachable, UsageProblem
from banger_core.plan.limits import check_space
from banger_core.quoting import quoted
from banger_core.store.content import create_private, room_in
from banger_core.threads import in_thread
from banger_core.trust import is_loopback, trusted_context

Report = Callable[[str, int, int], None]

REDIRECTS = 5
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_HERE = ("localhost", "127.0.0.1", "[::1]")
_LONGEST = 4096


def check_url(url: str) -> None:
    """Raise UsageProblem for a URL that nothing is fetched from: HTTPS only, or this host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as problem:
        raise _refused(url, str(problem)) from problem
    if len(url) > _LONGEST or not url.isascii() or not url.isprintable() or " " in url:
        raise _refused(url, "a URL is one word of ASCII characters")
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise _refused(url, "give https://HOST/PATH, or the path of a file")
    if parts.username is not None or parts.password is not None:
        raise _refused(url, "a URL with a password is not used")
    if parts.scheme == "http" and not is_loopback(host):
        raise _refused(url, "plain http is for this host only: use https")


async def download(url: str, into: Path, sha256: str, report: Report) -> Path:
    """Fetch ``url`` to the new file ``into`` and return it. ``sha256`` (hexadecimal) is what it
    must have, unless it is empty. Proxies are those of the environment.

    Raises UsageProblem for a URL that is not used, Unreachable, HostileInput for redirects to
    where nothing is fetched from, IntegrityError and NoSpace.
    """
    check_url(url)
    trust = await in_thread(trusted_context)
    client = httpx.AsyncClient(
        verify=trust,
        timeout=_TIMEOUT,
        follow_redirects=False,
        headers={"User-Agent": "banger", "Accept-Encoding": "identity"},
        # What is on this host is not asked for elsewhere
        mounts={f"all://{host}": None for host in _HERE},
    )
    async with client:
        try:
            found = await _follow(client, url, into, report)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise unreachable(url, str(problem) or type(problem).__name__) from problem
    if sha256 and found != sha256:
        raise wrong_digest(quoted(url), found, sha256)
    return into


def wrong_digest(what: str, found: str, wanted: str) -> IntegrityError:
    """The error for a file that is not the one that was asked for."""
    return IntegrityError(
        f"{what} is not what was promised",
        cause=f"its SHA-256 is {found}, promised was {wanted}",
        hints=["ask whoever published it which one is right"],
    )


def unreachable(url: str, cause: str) -> Unreachable:
    """The error for what cannot be fetched."""
    return Unreachable(
        f"{quoted(url)} cannot be fetched",
        cause=quoted(cause, 300)[1:-1],
        hints=[f"check the network: curl -I {quoted(url)}"],
    )


async def _follow(client: httpx.AsyncClient, url: str, into: Path, report: Report) -> str:
    for _ in range(REDIRECTS + 1):
        async with client.stream("GET", url) as answer:
            if answer.has_redirect_location:
                url = _redirected(url, answer.headers["Location"])
                continue
            if answer.status_code != httpx.codes.OK:
                raise unreachable(url, f"HTTP status {answer.status_code}")
            return await _save(answer, into, report)
    raise unreachable(url, f"more than {REDIRECTS} redirects")


async def _save(answer: httpx.Response, into: Path, report: Report) -> str:
    length = answer.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() and len(length) < 16 else 0
    check_space(into.parent, total, "what is fetched")
    found, done = hashlib.sha256(), 0
    with room_in(into.parent), os.fdopen(create_private(into), "wb") as file:
        # What is transferred is what was digested: no transfer encoding is undone
        async for chunk in answer.aiter_raw():
            file.write(chunk)
            found.update(chunk)
            done += len(chunk)
            report("fetching", done, total)
    if total and done < total:
        raise unreachable(str(answer.url), "it ended too early")
    return found.hexdigest()


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    try:
        check_url(target)
    except UsageProblem as problem:
        raise _astray(url, problem.cause) from problem
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise _astray(url, "it leads away from https")
    return target


def _astray(url: str, cause: str) -> HostileInput:
    return HostileInput(f"{quoted(url)} redirects to where banger does not go", cause=cause)


def _refused(url: str, cause: str) -> UsageProblem:
    return UsageProblem(
        f"{quoted(url)} is not fetched",
        cause=cause,
        hints=["banger image import https://HOST/PATH, or the path of a file"],
    )
