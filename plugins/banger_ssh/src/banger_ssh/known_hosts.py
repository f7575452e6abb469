"""The format of known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): find, pin, forget.

Everything is bytes. Lines that are not ours, or that nobody understands, pass through untouched.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

_LINE = re.compile(
    rb"[ \t]*(?:(?P<marker>@[^ \t]+)[ \t]+)?(?P<hosts>[^ \t\r#@][^ \t\r]*)"
    rb"[ \t]+(?P<key>[a-z][A-Za-z0-9@.-]*[ \t]+[A-Za-z0-9+/]+=*)(?:[ \t\r]+(?P<comment>.*?))?\s*",
    re.DOTALL,
)
_NAME = re.compile(rb"[A-Za-z0-9._:%\[\]-]+")
_KEY = re.compile(rb"[a-z][A-Za-z0-9@.-]* [A-Za-z0-9+/]+=*")


@dataclass(frozen=True, slots=True)
class HostLine:
    """One line that names hosts and a key.

    ``raw`` is the whole line with its end; ``hosts`` the names as they stand there; ``key`` is
    ``TYPE BASE64``; ``marker`` is empty, ``@cert-authority`` or ``@revoked``.
    """

    raw: bytes
    marker: bytes
    hosts: bytes
    key: bytes
    comment: bytes

    def matches(self, name: bytes) -> bool:
        """Say whether OpenSSH takes this line for ``name``: patterns, negation and hashes count."""
        name = name.lower()
        if self.hosts.startswith(b"|"):
            return _is_hash_of(self.hosts, name)
        verdict = False
        for pattern in self.hosts.lower().split(b","):
            if _glob(pattern.removeprefix(b"!"), name):
                if pattern.startswith(b"!"):
                    return False
                verdict = True
        return verdict

    def without(self, names: Iterable[bytes]) -> bytes:
        """Return the line without ``names``, where they stand literally or hashed; empty when no
        host is left. Marked lines speak of keys, not of hosts, and stay as they are.
        """
        gone = {name.lower() for name in names}
        if self.marker:
            return self.raw
        if self.hosts.startswith(b"|"):
            return b"" if any(_is_hash_of(self.hosts, name) for name in gone) else self.raw
        left = [host for host in self.hosts.split(b",") if host.lower() not in gone]
        if not any(host and not host.startswith(b"!") for host in left):
            return b""
        # The hosts come first in a line without a marker, so the first occurrence is theirs
        return self.raw.replace(self.hosts, b",".join(left), 1)


def host_name(host: str, port: int) -> bytes:
    """Return how known_hosts calls a server: ``HOST``, or ``[HOST]:PORT`` for another port."""
    return (host if port == 22 else f"[{host}]:{port}").encode()


def read_lines(data: bytes) -> list[bytes | HostLine]:
    """Split a file into its lines: those that name hosts and a key, and all others as they are."""
    ends = [match.end() for match in re.finditer(rb"\n", data)]
    starts = [0, *ends]
    return [_read(data[a:b]) for a, b in zip(starts, [*ends, len(data)], strict=True) if a < b]


def find(data: bytes, name: bytes) -> list[HostLine]:
    """Return the lines that OpenSSH considers for ``name``, as ``ssh-keygen -F`` does."""
    return [line for line in read_lines(data) if isinstance(line, HostLine) and line.matches(name)]


def pin(data: bytes, names: Iterable[bytes], key: bytes, comment: bytes) -> bytes:
    """Return the file with ``key`` as the only one that stands for each of ``names``.

    Raises ValueError when a name or the key is not of the form that belongs there.
    """
    names = list(names)
    if not names or not all(map(_NAME.fullmatch, names)):
        raise ValueError(f"not all of {names} are names of hosts")
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key[:80]!r} is not a public key")
    kept = forget(data, names)
    if kept and not kept.endswith(b"\n"):
        kept += b"\n"
    return kept + b" ".join((b",".join(names), key, comment)) + b"\n"


def forget(data: bytes, names: Iterable[bytes]) -> bytes:
    """Return the file without ``names``; wildcards that match them, and all other lines, stay."""
    names = list(names)
    return b"".join(
        line.without(names) if isinstance(line, HostLine) else line for line in read_lines(data)
    )


def _read(raw: bytes) -> bytes | HostLine:
    match = _LINE.fullmatch(raw)
    if not match or b"\0" in raw:
        return raw
    return HostLine(
        raw=raw,
        marker=match["marker"] or b"",
        hosts=match["hosts"],
        key=b" ".join(match["key"].split()),
        comment=match["comment"] or b"",
    )


def _is_hash_of(hosts: bytes, name: bytes) -> bool:
    """Compare with ``|1|SALT|HASH``: the HMAC-SHA1 of the name, keyed with the salt."""
    parts = hosts.split(b"|")
    if len(parts) != 4 or parts[1] != b"1":
        return False
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
    except binascii.Error:
        return False
    return hmac.compare_digest(hmac.digest(salt, name, hashlib.sha1), digest)


def _glob(pattern: bytes, name: bytes) -> bool:
    """Match OpenSSH's patterns, which know ``*`` and ``?`` and nothing else."""
    text = re.escape(pattern).replace(rb"\*", b".*").replace(rb"\?", b".")
    return bool(re.fullmatch(text, name, re.DOTALL))
