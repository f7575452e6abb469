"""What a registry is shown when it asks who we are.

Token authentication as Docker's and the OCI's registries do it (distribution: "Token
Authentication Specification", "OAuth2"), and Basic. Credentials go to the origin of their
registry, to the token servers that are known to belong to it, and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from banger_core.api import HostileInput, Unreachable, quoted
from banger_oci.credentials import HUB, Credentials, find_credentials
from banger_oci.refusals import (
    Denied,
    Words,
    check_passing,
    denied,
    read_words,
    refused,
    withheld,
)
from banger_oci.urls import BadUrl, Url, parse_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from banger_oci.challenges import Challenge
    from banger_oci.patience import Patience
    from banger_oci.redirects import Guide
    from banger_oci.reference import Reference
    from banger_oci.settings import OciSettings
    from banger_oci.transport import Answer

TOKEN_ANSWER_MAX = 1 << 20
"""Longest answer of a token server in bytes."""

_TOKEN_HOSTS = {HUB: "auth.docker.io", "registry.gitlab.com": "gitlab.com"}
_TOKEN = re.compile(r"[!-~]{1,65536}")
_LIFE_MIN, _LIFE_MAX, _SPARE = 60.0, 86400.0, 10.0
_CLIENT = "banger"
_HEADERS = {"User-Agent": _CLIENT, "Accept-Encoding": "identity"}
_FORM = {**_HEADERS, "Content-Type": "application/x-www-form-urlencoded"}


class Authority:
    """Speaks for us at one registry, about one repository; many may ask it at once.

    ``base`` is the registry's own URL.
    """

    def __init__(
        self,
        reference: Reference,
        settings: OciSettings,
        guide: Guide,
        base: Url,
        patience: Patience,
    ) -> None:
        self._reference, self._settings, self._guide = reference, settings, guide
        self._patience = patience
        self.base = base
        self._lock = asyncio.Lock()
        self._header, self._until = "", 0.0
        self._credentials: Credentials | None = None
        self._looked = False
        self._kept_from = ""

    def current(self) -> str:
        """Return the ``Authorization`` that is good now; "" when there is none yet."""
        return self._header if self._patience.clock() < self._until else ""

    async def respond(self, challenges: Sequence[Challenge], shown: str) -> str:
        """Return the ``Authorization`` that answers challenges to a request that had ``shown``.

        However many ask at once, a token is fetched once. Raises Denied, Unreachable,
        HostileInput, Passing, and BangerError for credentials that cannot be read.
        """
        async with self._lock:
            if (header := self.current()) and header != shown:
                return header
            header, life = await self._obtain({one.scheme: one for one in reversed(challenges)})
            self._header, self._until = header, self._patience.clock() + life
            return header

    def refusal(self, words: Words) -> Denied:
        """The error for a registry that is not content with what it was shown."""
        if self._kept_from and self._credentials:
            return withheld(self._reference, self._credentials, self._kept_from, words)
        return denied(self._reference, self._credentials, words)

    async def _obtain(self, challenges: dict[str, Challenge]) -> tuple[str, float]:
        known = await self._known()
        if "bearer" in challenges:
            if known and known.registry_token:
                return f"Bearer {_checked(known.registry_token, self.base.site)}", math.inf
            return await self._token(challenges["bearer"])
        if "basic" not in challenges:
            raise Unreachable(
                f"{self.base.site} wants credentials of a kind that is not known",
                cause=f"it asks for {quoted(', '.join(challenges))}, not for Bearer or Basic",
            )
        if known is None or not known.username:
            raise self.refusal(Words(b""))
        return _basic(known), math.inf

    async def _known(self) -> Credentials | None:
        if not self._looked:
            self._credentials = await find_credentials(self._reference, self._settings)
            self._looked = True
        return self._credentials

    async def _token(self, challenge: Challenge) -> tuple[str, float]:
        realm = self._realm(challenge.parameters.get("realm", ""))
        ours = self._belongs(realm)
        credentials = self._credentials if ours else None
        self._kept_from = realm.site if self._credentials and not ours else ""
        about = {
            "scope": challenge.parameters.get("scope")
            or f"repository:{self._reference.repository}:pull",
        }
        if service := challenge.parameters.get("service"):
            about["service"] = service
        home = await self._guide.ground(realm if ours else self.base)
        free = (realm,) if ours else ()
        if credentials and credentials.identity_token:
            form = {"grant_type": "refresh_token", "client_id": _CLIENT, **about}
            form["refresh_token"] = credentials.identity_token
            content = urlencode(form, errors="replace").encode()
            answer = await self._guide.post(realm, _FORM, content)
        else:
            account = {"account": credentials.username} if credentials else {}
            glue = "&" if "?" in realm.target else "?"
            target = f"{realm.target}{glue}{urlencode({**account, **about}, errors='replace')}"
            answer = await self._guide.get(
                Url(realm.scheme, realm.host, realm.port, target),
                _HEADERS,
                authorization=_basic(credentials) if credentials else "",
                home=home,
                trusted=free,
            )
        return await self._taken(answer, realm)

    def _realm(self, text: str) -> Url:
        """Check where a token is to be had."""
        try:
            realm = parse_url(text)
        except BadUrl as problem:
            raise HostileInput(
                f"{self.base.site} names no server for tokens", cause=str(problem)
            ) from None
        plain = realm.scheme == "http"
        if plain and (self.base.scheme == "https" or not self._guide.may_be_plain(realm)):
            raise HostileInput(
                f"refused to fetch a token for {self.base.site}",
                cause=f"it sends for it to {realm.site} over plain HTTP",
            )
        return realm

    def _belongs(self, realm: Url) -> bool:
        """Tell whether a token server may see the registry's credentials."""
        if realm.origin == self.base.origin:
            return True
        registry = self._reference.registry
        named = self._settings.token_hosts.get(registry) or _TOKEN_HOSTS.get(registry)
        return named is not None and named.lower() == realm.site

    async def _taken(self, answer: Answer, realm: Url) -> tuple[str, float]:
        try:
            await check_passing(answer, self._patience)
            if answer.status in (400, 401, 403):
                raise self.refusal(await read_words(answer))
            if answer.status != 200:
                words = await read_words(answer)
                raise refused(self._reference, f"a token ({realm.site})", answer.status, words)
            body = await answer.read(TOKEN_ANSWER_MAX)
        finally:
            await answer.close()
        if len(body) > TOKEN_ANSWER_MAX:
            raise HostileInput(
                f"the token from {realm.site} is too long", cause="its answer has more than 1 MiB"
            )
        return _read_token(body, realm.site)


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode(errors="replace")
    return f"Basic {base64.b64encode(pair).decode()}"


def _read_token(body: bytes, site: str) -> tuple[str, float]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise Unreachable(f"{site} gave no token", cause="its answer is not a JSON object")
    token: Any = answer.get("token") or answer.get("access_token")
    if not token:
        raise Unreachable(f"{site} gave no token", cause="there is none in its answer")
    return f"Bearer {_checked(token, site)}", _life(answer.get("expires_in")) - _SPARE


def _life(stated: Any) -> float:
    """Return how many seconds a token is good for: no less than a minute, as Docker specifies."""
    if not isinstance(stated, int | float) or isinstance(stated, bool):
        return _LIFE_MIN
    # In this order NaN becomes the minimum; and there are integers that no float can hold
    return float(min(max(_LIFE_MIN, stated), _LIFE_MAX))


def _checked(token: Any, site: str) -> str:
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise Unreachable(f"the token for {site} cannot be used", cause="it is not visible ASCII")
    return token
