"""Where feeds and their files may be: HTTPS, this host over HTTP, and local files."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from banger_core.api import is_loopback

_PLAIN = re.compile(r"[!-~]{1,2000}")


def place_of(text: str) -> str:
    """Return the URL of a feed's ``catalog.json`` that is written as a URL or as a path.

    A directory (a trailing slash) means the ``catalog.json`` in it. Raises ValueError.
    """
    if text.startswith(("/", "~")):
        path = Path(text).expanduser()
        text = path.as_uri() + ("/" if text.endswith("/") else "")
    url = f"{text}catalog.json" if text.endswith("/") else text
    if "?" in url:
        raise ValueError("its signature lies beside it, so there cannot be a query")
    check_url(url)
    return url


def check_url(url: str) -> None:
    """Raise ValueError for a URL that nothing is fetched from."""
    if not _PLAIN.fullmatch(url) or "\\" in url:
        raise ValueError("a URL is one word of at most 2,000 ASCII characters")
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/") or "\0" in unquote(parts.path):
            raise ValueError("give file:///PATH, or an absolute path")
        return
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("give https://HOST/PATH, or the path of a file")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL with a password is not used")
    if parts.fragment:
        raise ValueError("a URL with a fragment names no file")
    if parts.port == 0:
        raise ValueError("port 0 is not a port")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("plain http is for this host only: use https")


def resolve(base: str, reference: str) -> str:
    """Return the URL that ``reference`` means in a document from ``base``.

    Raises ValueError for what must not be reached from there: files from the network, files
    outside of the feed's own directory, plain HTTP from HTTPS.
    """
    if not _PLAIN.fullmatch(reference):
        raise ValueError("a URL is one word of at most 2,000 ASCII characters")
    url = urljoin(base, reference)
    check_url(url)
    was, becomes = urlsplit(base).scheme, urlsplit(url).scheme
    if becomes == "file":
        home = local_path(base).parent if was == "file" else None
        path = local_path(url)
        if home is None or ".." in path.parts or not path.is_relative_to(home):
            raise ValueError("a feed gives only files that lie beside it")
    elif becomes == "http" and was != "http":
        raise ValueError("it leads away from https" if was == "https" else "use https")
    return url


def local_path(url: str) -> Path:
    """Return the path of a ``file:`` URL."""
    return Path(unquote(urlsplit(url).path))
