"""Where a request may be led: redirects, followed one by one under rules.

Never to plain HTTP from HTTPS, nor to plain HTTP on a host that is not known for it; never to an
address closer to this host than the registry's own; never with credentials to another origin, and
not back to the first one either: where we went from there is no longer our choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.api import HostileInput, Unreachable
from banger_oci.urls import BadUrl, Ground, Url, is_loopback, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from banger_oci.transport import Answer, Transport

REDIRECTS_MAX = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Guide:
    """Sends requests for one registry and follows where its answers lead.

    ``plain`` are the ``HOST[:PORT]`` that may be spoken to in plain HTTP, as references write
    them; those of this host may always.
    """

    def __init__(self, transport: Transport, plain: Iterable[str]) -> None:
        self._transport = transport
        self._plain = frozenset(map(_plain_site, plain))

    def may_be_plain(self, url: Url) -> bool:
        """Tell whether a server may be spoken to without TLS."""
        return is_loopback(url.host) or url.site in self._plain

    async def ground(self, url: Url) -> Ground:
        """Say where a server is. Raises as ``Transport.ground``."""
        return await self._transport.ground(url)

    async def get(
        self,
        url: Url,
        headers: Mapping[str, str],
        *,
        authorization: str = "",
        home: Ground | None = None,
        trusted: Iterable[Url] = (),
    ) -> Answer:
        """Ask ``url`` and whoever it names; return the first answer that is no redirect.

        ``authorization`` goes to the origin of ``url`` only. Servers other than ``trusted`` have
        to stand where ``home`` may lead to. Raises HostileInput for a forbidden way, Unreachable
        for one without end, and as ``Transport.send``.
        """
        free = {(one.host, one.port) for one in trusted}
        secrets = {"Authorization": authorization} if authorization else {}
        for _ in range(REDIRECTS_MAX + 1):
            limit = None if (url.host, url.port) in free else home
            answer = await self._transport.send("GET", url, {**headers, **secrets}, home=limit)
            if answer.status not in _REDIRECTS:
                return answer
            await answer.drop()
            further = self._next(url, answer.header("Location"))
            if further.origin != url.origin:
                secrets = {}
            url = further
        raise Unreachable(
            f"{url.site} leads in circles", cause=f"more than {REDIRECTS_MAX} redirects"
        )

    async def post(self, url: Url, headers: Mapping[str, str], content: bytes) -> Answer:
        """Send a form to a server that may have what it holds, wherever it stands.

        Returns the answer, whatever it is: redirects are not followed.
        """
        return await self._transport.send("POST", url, headers, content=content)

    def _next(self, url: Url, location: str) -> Url:
        if not location:
            raise Unreachable(f"{url.site} leads nowhere", cause="a redirect without a Location")
        try:
            further = parse_url(location, url)
        except BadUrl as problem:
            raise HostileInput(f"refused a redirect of {url.site}", cause=str(problem)) from None
        if further.scheme == "http" and (url.scheme == "https" or not self.may_be_plain(further)):
            raise HostileInput(
                f"refused a redirect of {url.site}",
                cause=f"it leads to plain HTTP at {further.site}",
                hints=[f'trust that network: insecure_registries = ["{further.site}"]']
                if url.scheme == "http"
                else [],
            )
        return further


def _plain_site(host: str) -> str:
    """Return a host as ``Url.site`` writes it: without port 80. What no URL has matches none."""
    try:
        return parse_url(f"http://{host}/").site
    except BadUrl:
        return ""
