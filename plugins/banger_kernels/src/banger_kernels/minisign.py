"""minisign's signatures: https://jedisct1.github.io/minisign/ ("Signature format")."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING

from banger_core.api import HostNotReady, IntegrityError, quoted

if TYPE_CHECKING:
    from banger_kernels.keys import MinisignKey

_UNTRUSTED, _TRUSTED = b"untrusted comment: ", b"trusted comment: "
_TIMESTAMP = re.compile(r"(?:^|\s)timestamp:([0-9]{1,15})(?:\s|$)")


def verify(document: bytes, signature: bytes, key: MinisignKey, what: str) -> int:
    """Check the signature of ``document`` and that of the trusted comment.

    Returns the comment's ``timestamp:`` in seconds since the epoch, 0 when it has none. Raises
    IntegrityError naming ``what``, and HostNotReady without the library ``cryptography``.
    """
    packed, comment, sealed = _parse(signature, what)
    algorithm, key_id, signed = packed[:2], packed[2:10], packed[10:]
    if key_id != key.id:
        raise IntegrityError(
            f"{what} is signed with another key",
            cause=f"with {key_id[::-1].hex().upper()}, and {key.shown} is configured",
            hints=["ask its publisher whether the key has changed, before changing it here"],
        )
    if algorithm == b"ED":
        document = hashlib.blake2b(document).digest()
    if not _is_good(key, signed, document):
        raise IntegrityError(
            f"{what} has a wrong signature",
            cause="its content is not what the key has signed",
            hints=["try again later, or tell its publisher: nothing of it is used"],
        )
    if not _is_good(key, sealed, signed + comment):
        raise IntegrityError(
            f"{what} has a wrong signature",
            cause="its trusted comment is not what was signed",
            hints=["try again later, or tell its publisher: nothing of it is used"],
        )
    found = _TIMESTAMP.search(comment.decode("utf-8", "replace"))
    return int(found[1]) if found else 0


def _parse(signature: bytes, what: str) -> tuple[bytes, bytes, bytes]:
    """Return the packed signature, the trusted comment and the signature that covers both."""
    lines = signature.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    try:
        untrusted, first, trusted, second = lines
        packed = base64.b64decode(first, validate=True)
        sealed = base64.b64decode(second, validate=True)
    except (ValueError, binascii.Error):
        raise _malformed(what, f"it begins with {quoted(signature[:40])}") from None
    if not untrusted.startswith(_UNTRUSTED) or not trusted.startswith(_TRUSTED):
        raise _malformed(what, "its comments are missing")
    if len(packed) != 74 or len(sealed) != 64:
        raise _malformed(what, "it is cut off")
    if packed[:2] not in (b"Ed", b"ED"):
        raise _malformed(what, f"its algorithm {quoted(packed[:2])} is not known")
    return packed, trusted.removeprefix(_TRUSTED), sealed


def _malformed(what: str, cause: str) -> IntegrityError:
    return IntegrityError(f"{what} has no minisign signature", cause=cause)


def _is_good(key: MinisignKey, signature: bytes, message: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as problem:
        raise HostNotReady(
            "minisign signatures cannot be checked",
            cause=f"the library cryptography cannot be loaded: {problem}",
            hints=["python -m pip install cryptography"],
        ) from problem
    try:
        Ed25519PublicKey.from_public_bytes(key.ed25519).verify(signature, message)
    except InvalidSignature:
        return False
    return True
