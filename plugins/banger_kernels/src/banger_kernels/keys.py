"""The public keys that a configuration may name."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

NAMESPACE = "banger-kernels"
"""What OpenSSH signatures of feeds are made for (``ssh-keygen -Y sign -n``)."""

_KEY_TYPE = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa|rsa)-[a-z0-9@.-]+")
_SIGNER = re.compile(r"[A-Za-z0-9._%+@-]+")
_LINE = re.compile(r"[ -~]{1,16000}")


@dataclass(frozen=True, slots=True)
class MinisignKey:
    """A minisign public key: eight bytes that name it, and the Ed25519 key."""

    id: bytes
    ed25519: bytes

    suffix = ".minisig"

    @property
    def shown(self) -> str:
        """The id as minisign prints it."""
        return self.id[::-1].hex().upper()


@dataclass(frozen=True, slots=True)
class SshKey:
    """A line of ``allowed_signers`` (ssh-keygen(1)), and the signer whom it allows."""

    signer: str
    line: str

    suffix = ".sig"


def parse_key(text: str) -> MinisignKey | SshKey:
    """Read a key as the configuration has it. Raises ValueError."""
    if not _LINE.fullmatch(text):
        raise ValueError("a key is one line of text")
    words = text.split()
    if len(words) == 1:
        return _minisign(text)
    if _KEY_TYPE.fullmatch(words[0]):
        return SshKey(NAMESPACE, f'{NAMESPACE} namespaces="{NAMESPACE}" {" ".join(words[:2])}')
    signer = words[0].partition(",")[0]
    if not _SIGNER.fullmatch(signer) or len(words) < 3:
        raise ValueError(
            "give a minisign public key (RW…), an OpenSSH public key (ssh-ed25519 AAAA…),"
            " or a line of allowed_signers that begins with one signer's name"
        )
    return SshKey(signer, text)


def _minisign(text: str) -> MinisignKey:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 42 or not raw.startswith(b"Ed"):
        raise ValueError("a minisign public key is RW and 54 more letters of base64")
    return MinisignKey(raw[2:10], raw[10:])
