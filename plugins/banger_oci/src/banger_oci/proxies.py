"""Which proxy leads to a server: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from banger_core.api import UsageProblem
from banger_oci.urls import Url, is_loopback


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, and what it wants to know of us."""

    host: str
    port: int
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


def proxy_for(url: Url) -> Proxy | None:
    """Return the proxy that the environment names for ``url``; this host needs none.

    Raises UsageProblem for one that cannot be used.
    """
    proxies = getproxies_environment()
    address = proxies.get(url.scheme) or proxies.get("all")
    bypassed = proxy_bypass(f"{url.host}:{url.port}", proxies)
    return None if not address or bypassed or is_loopback(url.host) else _parse(address)


def _parse(address: str) -> Proxy:
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        scheme, host, port = parts.scheme, parts.hostname, parts.port or 80
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError:
        raise _unusable() from None
    if scheme != "http" or not host:
        raise _unusable()
    return Proxy(host, port, user, password)


def _unusable() -> UsageProblem:
    # The address may hold a password
    return UsageProblem(
        "the environment names a proxy that cannot be used",
        cause="it is not of the form http://[USER:PASSWORD@]HOST[:PORT]",
        hints=["env | grep -i _proxy", "NO_PROXY=HOST goes around it"],
    )
