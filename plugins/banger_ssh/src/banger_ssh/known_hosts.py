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


def pin(data: bytes, names: Iterable[bytes], key: bytes, comment: bytes, *more: bytes) -> bytes:
    """Return the file with ``key`` (and the keys ``more``) as the only ones that stand for each of
    ``names``.

    Raises ValueError when a name or a key is not of the form that belongs there.
    """
    names = list(names)
    kept = ended(forget(data, names))
    return kept + b"".join(host_line(b"", names, each, comment) for each in (key, *more))


def certify(data: bytes, names: Iterable[bytes], keys: Iterable[bytes], comment: bytes) -> bytes:
    """Return the file with ``keys`` as authorities whose host certificates stand for ``names``.

    Raises ValueError when a name or a key is not of the form that belongs there.
    """
    names = list(names)
    lines = [host_line(b"@cert-authority", names, key, comment) for key in keys]
    return ended(data) + b"".join(lines) if lines else data


def uncertify(data: bytes, names: Iterable[bytes], comment: bytes) -> bytes:
    """Return the file without what ``certify`` wrote for any of ``names`` under a comment that
    begins with ``comment``. Authorities that others put there stay.
    """
    gone = {name.lower() for name in names}

    def stays(line: bytes | HostLine) -> bool:
        if not isinstance(line, HostLine) or line.marker != b"@cert-authority":
            return True
        ours = line.comment.startswith(comment)
        return not ours or gone.isdisjoint(line.hosts.lower().split(b","))

    lines = (line for line in read_lines(data) if stays(line))
    return b"".join(line.raw if isinstance(line, HostLine) else line for line in lines)


def host_line(marker: bytes, names: list[bytes], key: bytes, comment: bytes) -> bytes:
    """Return one line. Raises ValueError when a name or the key is not of the right form."""
    if not names or not all(map(_NAME.fullmatch, names)):
        raise ValueError(f"not all of {names} are names of hosts")
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key[:80]!r} is not a public key")
    words = (marker, b",".join(names), key, comment)
    return b" ".join(word for word in words if word) + b"\n"


def ended(data: bytes) -> bytes:
    """Return ``data`` with an end to its last line."""
    return data + b"\n" if data and not data.endswith(b"\n") else data


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
