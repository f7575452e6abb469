"""URLs that a registry may lead us to, and the ground that their hosts stand on."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urljoin, urlsplit

from banger_core.api import quoted

PORTS = {"http": 80, "https": 443}

_LENGTH_MAX = 8192
_VISIBLE = re.compile(r"[!-~]+")
_CARRIERS = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))
# 127.1 and 0x7f000001 are addresses to some resolvers, and names to those who check addresses
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,252})", re.ASCII)

Origin = tuple[str, str, int]
"""Scheme, host and port: what credentials belong to."""


class BadUrl(ValueError):
    """The text is no URL that is followed here; says why in a few printable words."""


@dataclass(frozen=True, slots=True)
class Url:
    """An ``http`` or ``https`` URL without user, password and fragment.

    ``host`` is in lower case, an IPv6 address without its brackets; ``target`` is path and query.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> Origin:
        """What credentials belong to."""
        return self.scheme, self.host, self.port

    @property
    def site(self) -> str:
        """``HOST[:PORT]``: how messages and the ``Host`` header name the server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.site}{self.target}"


def parse_url(text: str, base: Url | None = None) -> Url:
    """Take a URL apart (RFC 3986); a relative one starts at ``base``. Raises BadUrl.

    Stricter than browsers: only visible ASCII, no user or password, no zone of an IPv6 address.
    """
    if len(text) > _LENGTH_MAX or not _VISIBLE.fullmatch(text):
        raise BadUrl(f"{quoted(text, 80)} is no URL")
    try:
        parts = urlsplit(urljoin(str(base), text) if base else text)
        port = parts.port
    except ValueError:
        raise BadUrl(f"{quoted(text, 80)} is no URL") from None
    if parts.scheme not in PORTS:
        raise BadUrl(f"{quoted(text, 80)} is neither http nor https")
    if "@" in parts.netloc:
        raise BadUrl(f"the URL for {quoted(parts.hostname or '', 80)} carries credentials")
    host = _host(parts.hostname or "", bracketed="[" in parts.netloc)
    if port == 0 or host is None:
        raise BadUrl(f"{quoted(parts.netloc, 80)} is no host")
    query = f"?{parts.query}" if parts.query else ""
    return Url(parts.scheme, host, port or PORTS[parts.scheme], (parts.path or "/") + query)


def _host(text: str, *, bracketed: bool) -> str | None:
    if not bracketed:
        odd = _NUMBER.fullmatch(text) and literal(text) is None
        return text if _NAME.fullmatch(text) and not odd else None
    try:
        return str(ipaddress.IPv6Address(text)) if "%" not in text else None
    except ValueError:
        return None


class Ground(IntEnum):
    """Whom an address reaches, widest first."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    LINK_LOCAL = 3

    def may_lead_to(self, other: Ground) -> bool:
        """Tell whether a server here may send us there: never to what is closer to this host
        than the server itself, and to link-local addresses (where clouds keep their secrets)
        only from one.
        """
        if Ground.LINK_LOCAL in (self, other):
            return other in (self, Ground.PUBLIC)
        return other <= self


def ground_of(address: str) -> Ground:
    """Say where an IP address is, also one of IPv4 that IPv6 carries."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or _carried(ip) or ip
    if ip.is_loopback or ip.is_unspecified:
        return Ground.LOOPBACK
    if ip.is_link_local or ip.is_multicast:
        return Ground.LINK_LOCAL
    return Ground.PUBLIC if ip.is_global else Ground.PRIVATE


def _carried(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The address behind NAT64 (RFC 6052, RFC 8215), or in one of IPv6's first form."""
    own = ip.is_loopback or ip.is_unspecified
    known = not own and any(ip in network for network in _CARRIERS)
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if known else None


def literal(host: str) -> str | None:
    """Return ``host`` when it is an IP address, None when it is a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Tell whether a host is this one by its spelling: ``localhost``, 127.0.0.0/8, ``::1``."""
    address = literal(host)
    if address is None:
        return host == "localhost"
    return ipaddress.ip_address(address).is_loopback
