"""A VM's SSH host key, made on the host before the first boot, so that it can be pinned.

``ssh-keygen`` makes it; dropbear inside the guest wants another form of the private half.
Formats: OpenSSH PROTOCOL.key; dropbear stores an SSH string of the key's type, then one of the
64 bytes that are seed and public key.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from banger_core.errors import IntegrityError
from banger_core.threads import in_thread

_MAGIC = b"openssh-key-v1\0"
_TYPE = b"ssh-ed25519"


Run = Callable[[Sequence[str]], Awaitable[bytes]]
"""Runs a host program to its end and returns its stdout, as ``Context.run`` does."""


async def make_host_key(run: Run, scratch: Path) -> tuple[bytes, str]:
    """Make an Ed25519 host key, by way of the private directory ``scratch``. Returns the private
    half in dropbear's form and the public half as ``ssh-ed25519 AAAA…``. Raises what ``run``
    raises (HostNotReady without ssh-keygen).
    """
    path = scratch / "hostkey.openssh"
    try:
        await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)])
        return dropbear_key(await in_thread(path.read_bytes))
    finally:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.pub").unlink(missing_ok=True)


def dropbear_key(openssh: bytes) -> tuple[bytes, str]:
    """Convert an unencrypted OpenSSH Ed25519 private key; returns the same as ``make_host_key``.

    Raises IntegrityError when it is anything else.
    """
    try:
        lines = [line for line in openssh.splitlines() if not line.startswith(b"-----")]
        raw = base64.b64decode(b"".join(lines), validate=True)
        secret, public = _parse(raw)
    except (binascii.Error, struct.error, ValueError) as problem:
        raise IntegrityError("not an OpenSSH Ed25519 private key", cause=str(problem)) from problem
    line = f"{_TYPE.decode()} {base64.b64encode(public).decode()}"
    return _string(_TYPE) + _string(secret), line


def _parse(raw: bytes) -> tuple[bytes, bytes]:
    """Return the 64 secret bytes and the public key blob."""
    if not raw.startswith(_MAGIC):
        raise ValueError("the magic is missing")
    cipher, rest = _take(raw[len(_MAGIC) :])
    _kdf, rest = _take(rest)
    _options, rest = _take(rest)
    if cipher != b"none":
        raise ValueError("it is encrypted")
    if struct.unpack_from(">I", rest)[0] != 1:
        raise ValueError("it holds more than one key")
    public, rest = _take(rest[4:])
    private, _ = _take(rest)
    # Two equal random words, which tell a wrong passphrase, precede the key
    kind, rest = _take(private[8:])
    _point, rest = _take(rest)
    secret, _ = _take(rest)
    if kind != _TYPE or len(secret) != 64:
        raise ValueError("it is of another type")
    return secret, public


def _take(data: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack_from(">I", data)
    if len(data) < 4 + length:
        raise ValueError("it is cut short")
    return data[4 : 4 + length], data[4 + length :]


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
