"""One feed as it is now: fetched, its signature checked, never older than the last one."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banger_core.api import IntegrityError, Unreachable, UsageProblem, write_atomic
from banger_kernels.document import DOCUMENT_MAX, parse_catalog
from banger_kernels.keys import MinisignKey, SshKey, parse_key
from banger_kernels.signature import verify

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.api import Context
    from banger_kernels.document import Offer
    from banger_kernels.fetch import Fetcher
    from banger_kernels.settings import Source

_SIGNATURE_MAX = 64 << 10


@dataclass(frozen=True, slots=True)
class _Signed:
    """A feed's ``catalog.json`` and its signature, byte for byte; ``at`` is when they came,
    ``signed`` when they were signed (0: not known), both in seconds since the epoch.
    """

    document: bytes
    signature: bytes
    at: float
    signed: int = 0


class Feed:
    """The feed ``name`` of the configuration.

    Raises UsageProblem when it has no key: what nobody has signed is not used.
    """

    def __init__(self, name: str, source: Source, cx: Context) -> None:
        if not source.key:
            raise UsageProblem(
                f"feed {name} is not used",
                cause="no key is configured that its signature could be checked with",
                hints=[f'set plugins.feeds.sources.{name}.key = "RW…", or "ssh-ed25519 AAAA…"'],
            )
        self._name, self._source, self._cx = name, source, cx
        self._key: MinisignKey | SshKey = parse_key(source.key)
        self._what = f"feed {name}"

    async def offers(self, fetcher: Fetcher, *, max_age: float = 0.0) -> dict[str, Offer]:
        """Return what is on offer, by name.

        One that came less than ``max_age`` seconds ago is current enough, and the last one serves
        when the server does not answer, or serves one that was signed before it. Raises
        Unreachable, IntegrityError and HostileInput.
        """
        kept = await self._kept()
        if kept is not None and 0 <= time.time() - kept.at < max_age:
            return self._parsed(kept)
        try:
            fresh = await self._fresh(fetcher)
        except Unreachable as problem:
            if kept is None:
                raise
            self._cx.log.warning("%s: %s, using the last one", self._what, problem.summary)
            return self._parsed(kept)
        if kept is not None and fresh.signed < kept.signed:
            self._cx.log.warning("%s: an older one is served, using the last one", self._what)
            return self._parsed(kept)
        offers = self._parsed(fresh)
        self._keep(fresh)
        return offers

    def _parsed(self, signed: _Signed) -> dict[str, Offer]:
        return parse_catalog(signed.document, self._source.url, self._what)

    async def _fresh(self, fetcher: Fetcher) -> _Signed:
        try:
            return await self._fetched(fetcher)
        except IntegrityError:
            # A new one may just have been put there, and its signature a moment later
            return await self._fetched(fetcher)

    async def _fetched(self, fetcher: Fetcher) -> _Signed:
        signature = await fetcher.document(f"{self._source.url}{self._key.suffix}", _SIGNATURE_MAX)
        document = await fetcher.document(self._source.url, DOCUMENT_MAX)
        return await self._verified(document, signature, time.time())

    async def _verified(self, document: bytes, signature: bytes, at: float) -> _Signed:
        signed = await verify(document, signature, self._key, self._what, self._cx)
        return _Signed(document, signature, at, signed)

    @property
    def _place(self) -> Path:
        return self._cx.state_dir / f"feed-{self._name}.json"

    async def _kept(self) -> _Signed | None:
        """The last one, if it is still this feed's and its signature is still good."""
        try:
            content = json.loads(self._place.read_bytes())
            if content["url"] != self._source.url:
                return None
            document, signature = (
                base64.b64decode(content[part]) for part in ("document", "signature")
            )
            at = float(content["at"])
        except (OSError, ValueError, LookupError, TypeError):
            return None
        try:
            return await self._verified(document, signature, at)
        except IntegrityError:
            return None

    def _keep(self, signed: _Signed) -> None:
        content = {
            "url": self._source.url,
            "at": signed.at,
            "document": base64.b64encode(signed.document).decode(),
            "signature": base64.b64encode(signed.signature).decode(),
        }
        write_atomic(self._place, json.dumps(content))
