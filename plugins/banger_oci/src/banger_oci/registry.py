"""One repository of a registry: its documents and its blobs (OCI distribution specification)."""

from __future__ import annotations

import hashlib
import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from banger_core.api import HostileInput, IntegrityError, Unreachable, UsageProblem, quoted
from banger_oci.auth import Authority
from banger_oci.challenges import parse_challenges
from banger_oci.documents import DOCUMENT_LIMIT
from banger_oci.patience import Patience
from banger_oci.redirects import Guide
from banger_oci.refusals import check_passing, described, missing, read_words, refused
from banger_oci.transfer import Cut
from banger_oci.transport import Passing, Transport
from banger_oci.urls import BadUrl, Url, parse_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from banger_oci.documents import Descriptor
    from banger_oci.reference import Reference
    from banger_oci.settings import OciSettings
    from banger_oci.transfer import Sink
    from banger_oci.transport import Answer
    from banger_oci.urls import Ground

T = TypeVar("T")

ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""Media types of documents that are asked for, the most wanted first."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_STRONG_TAG = re.compile(r'"[!#-~]{1,256}"')
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_HEADERS = {"User-Agent": "banger", "Accept-Encoding": "identity"}


class Registry:
    """Fetches from the repository of ``reference``; use it as an async context.

    An ``Origin`` of blobs. Asks again what may work the next time, and says so in ``log``.
    """

    def __init__(
        self,
        reference: Reference,
        settings: OciSettings,
        *,
        patience: Patience | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        self._reference = reference
        self._patience = patience or Patience()
        self._log = log or logging.getLogger("banger.plugin.oci")
        self._transport = Transport(self._patience)
        self._guide = Guide(self._transport, settings.insecure_registries)
        base = _base(reference, self._guide)
        self._auth = Authority(reference, settings, self._guide, base, self._patience)

    def __str__(self) -> str:
        return f"{self._reference.registry}/{self._reference.repository}"

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *about: object) -> None:
        await self._transport.__aexit__(*about)

    async def document(self, selector: str, accept: Iterable[str] = ACCEPTED) -> tuple[bytes, str]:
        """Return the index or manifest that ``selector`` (a tag or a digest) names, and its media
        type ("" when the registry does not tell).

        It has at most DOCUMENT_LIMIT bytes and the digest that was asked for or that the registry
        states. Raises NotFound, Unreachable (Denied for want of credentials), IntegrityError and
        HostileInput.
        """
        return await self._patiently(partial(self._document, selector, ", ".join(accept)))

    async def pour(
        self, blob: Descriptor, sink: Sink, *, offset: int = 0, validator: str = ""
    ) -> None:
        """Give the bytes of ``blob`` from ``offset`` on to ``sink`` (see ``transfer.Origin``)."""
        if not _DIGEST.fullmatch(blob.digest):
            raise HostileInput("malformed digest", cause=f"{quoted(blob.digest)} is no sha256:HEX")
        if 0 < offset == blob.size:
            # Nothing is left to ask for; a range without a byte cannot be
            sink.begin(offset, validator)
            return
        start = offset if 0 < offset < blob.size else 0
        await self._patiently(partial(self._pour, blob, sink, start, validator))

    # --- documents ---------------------------------------------------------------------------

    async def _document(self, selector: str, accept: str) -> tuple[bytes, str]:
        what = f"manifest {selector}"
        answer = await self._ask(f"manifests/{selector}", {"Accept": accept}, what)
        try:
            if answer.status != 200:
                raise refused(self._reference, what, answer.status, await read_words(answer))
            self._check_encoding(answer, what)
            body = await answer.read(DOCUMENT_LIMIT)
        finally:
            await answer.close()
        if len(body) > DOCUMENT_LIMIT:
            raise HostileInput(
                f"the {what} of {self._reference.repository} is too long",
                cause=f"{self._reference.registry} gives more than {DOCUMENT_LIMIT >> 20} MiB",
            )
        self._check_digest(body, selector, answer.header("Docker-Content-Digest"))
        return body, self._media_type(answer, what)

    def _check_encoding(self, answer: Answer, what: str) -> None:
        encoding = answer.header("Content-Encoding").strip().lower()
        if encoding not in ("", "identity"):
            raise Unreachable(
                f"{self._reference.registry} did not give {what} as it is",
                cause=f"it packed it with {quoted(encoding, 40)}, though that was not asked for",
            )

    def _check_digest(self, body: bytes, selector: str, stated: str) -> None:
        found = f"sha256:{hashlib.sha256(body).hexdigest()}"
        wanted = selector if _DIGEST.fullmatch(selector) else stated.strip() or found
        if found != wanted:
            raise IntegrityError(
                f"{self._reference.registry} gave a wrong manifest for {self._reference.familiar}",
                cause=f"it has {found}, not {quoted(wanted, 80)}",
                hints=["try again later: a proxy on the way may have altered it"],
            )

    def _media_type(self, answer: Answer, what: str) -> str:
        kind = answer.header("Content-Type").partition(";")[0].strip().lower()
        if kind and not kind.startswith("application/"):
            raise Unreachable(
                f"{self._reference.registry} did not give {what}",
                cause=f"it answered with {quoted(kind, 60)}",
                hints=["check that it is a registry, and that nothing in between wants a login"],
            )
        return kind

    # --- blobs -------------------------------------------------------------------------------

    async def _pour(self, blob: Descriptor, sink: Sink, offset: int, validator: str) -> None:
        answer = await self._ask_blob(blob, offset, validator)
        try:
            if offset and not _continues(answer, blob, offset, validator):
                if answer.status != 200:
                    # It cannot give the rest alone, or lies about it: all of it, then
                    await answer.drop()
                    answer = await self._ask_blob(blob, 0, "")
                offset = 0
            if answer.status != (206 if offset else 200):
                what = _name(blob)
                raise refused(self._reference, what, answer.status, await read_words(answer))
            await self._transfer(answer, blob, sink, offset)
        finally:
            await answer.close()

    async def _ask_blob(self, blob: Descriptor, offset: int, validator: str) -> Answer:
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if _STRONG_TAG.fullmatch(validator):
                headers["If-Range"] = validator
        return await self._ask(f"blobs/{blob.digest}", headers, _name(blob))

    async def _transfer(self, answer: Answer, blob: Descriptor, sink: Sink, offset: int) -> None:
        length = answer.header("Content-Length").strip()
        if length.isdecimal() and offset + int(length) > blob.size:
            raise self._too_long(blob)
        tag = answer.header("ETag").strip()
        await answer.step(sink.begin, offset, tag if _STRONG_TAG.fullmatch(tag) else "")
        here = offset

        def take(chunk: bytes) -> None:
            nonlocal here
            here += len(chunk)
            sink.write(chunk)
            if here > blob.size:
                raise self._too_long(blob)

        try:
            await answer.pour(take)
        except Passing as problem:
            raise self._cut(blob, here, str(problem)) from problem
        if here < blob.size:
            raise self._cut(blob, here, "it ended too early")

    def _cut(self, blob: Descriptor, here: int, cause: str) -> Cut:
        return Cut(
            f"{self._reference.registry} gave {here} of {blob.size} bytes of {_name(blob)}",
            cause=cause,
            hints=["try again: what is here already is kept"],
        )

    def _too_long(self, blob: Descriptor) -> IntegrityError:
        return IntegrityError(
            f"{self._reference.registry} gives too much for {_name(blob)}",
            cause=f"its size is {blob.size} bytes",
        )

    # --- asking ------------------------------------------------------------------------------

    async def _ask(self, path: str, headers: dict[str, str], what: str) -> Answer:
        """Return the answer, of status 2xx, or 416 when a range was asked for."""
        base = self._auth.base
        url = Url(base.scheme, base.host, base.port, f"/v2/{self._reference.repository}/{path}")
        home = await self._guide.ground(base)
        shown = self._auth.current()
        answer = await self._get(url, headers, shown, home)
        if answer.status == 401 and answer.url.origin == base.origin:
            challenges = parse_challenges(answer.headers("WWW-Authenticate"))
            words = await read_words(answer)
            if not challenges:
                raise self._auth.refusal(words)
            shown = await self._auth.respond(challenges, shown)
            answer = await self._get(url, headers, shown, home)
        await check_passing(answer, self._patience)
        if answer.status in (200, 206) or (answer.status == 416 and "Range" in headers):
            return answer
        words = await read_words(answer)
        # Some registries are a name for another one, which knows best what there is
        absent = answer.status == 404 and path.startswith("manifests/")
        if answer.url.origin != base.origin and not absent:
            # A store that the registry led to; whoever asks again is led anew
            raise Passing(f"{answer.url.site} says: {described(answer.status, words)}")
        if answer.status in (401, 403):
            raise self._auth.refusal(words)
        if answer.status == 404:
            raise missing(self._reference, what, words)
        if answer.status == 400 and base.scheme == "http" and "HTTPS" in words.raw:
            self._auth.base = Url("https", base.host, base.port, base.target)
            return await self._ask(path, headers, what)
        raise refused(self._reference, what, answer.status, words)

    async def _get(self, url: Url, headers: dict[str, str], shown: str, home: Ground) -> Answer:
        return await self._guide.get(
            url,
            {**_HEADERS, **headers},
            authorization=shown,
            home=home,
            trusted=(self._auth.base,),
        )

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        pauses = len(self._patience.pauses)
        registry = self._reference.registry
        for number in range(pauses + 1):
            try:
                return await attempt()
            except Passing as problem:
                if number == pauses:
                    raise self._gave_up(f"asked {pauses + 1} times: {problem}") from problem
                if (problem.after or 0) > self._patience.longest:
                    cause = f"{problem}; it wants to be left alone for {problem.after:.0f} seconds"
                    raise self._gave_up(cause) from problem
                pause = self._patience.pause(number, problem.after)
                self._log.warning("%s: %s; again in %.1f s", registry, problem, pause)
            await self._patience.sleep(pause)
        raise AssertionError

    def _gave_up(self, cause: str) -> Unreachable:
        base = self._auth.base
        hints = [f"curl -I {base.scheme}://{base.site}/v2/"]
        if "status 429" in cause:
            hints = [f"docker login {self._reference.registry} may raise its limit", "wait a while"]
        return Unreachable(
            f"cannot fetch from {self._reference.registry}", cause=cause, hints=hints
        )


def _base(reference: Reference, guide: Guide) -> Url:
    try:
        secure = parse_url(f"https://{reference.host}/")
    except BadUrl as problem:
        raise UsageProblem(
            f"{quoted(reference.registry, 80)} is no registry",
            cause=str(problem),
            hints=["check the spelling of the reference"],
        ) from None
    has_port = ":" in reference.host.rpartition("]")[2]
    plain = Url("http", secure.host, secure.port if has_port else 80, "/")
    return plain if plain.port != 443 and guide.may_be_plain(plain) else secure


def _name(blob: Descriptor) -> str:
    return f"blob {blob.digest[7:19]}"


def _continues(answer: Answer, blob: Descriptor, offset: int, validator: str) -> bool:
    """Tell whether an answer truly has the bytes from ``offset`` on of the same content."""
    found = _CONTENT_RANGE.fullmatch(answer.header("Content-Range").strip())
    if answer.status != 206 or found is None:
        return False
    tag = answer.header("ETag").strip()
    same = not (_STRONG_TAG.fullmatch(tag) and validator) or tag == validator
    first, last, size = int(found[1]), int(found[2]), found[3]
    whole = size == "*" or int(size) == blob.size
    return same and whole and first == offset and first <= last < blob.size
