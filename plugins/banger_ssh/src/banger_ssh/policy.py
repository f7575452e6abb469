"""A layer of SSH policy that names what is not wanted, so that OpenSSH's newer choices stay."""

from __future__ import annotations

from banger_core.api import SshFacts, SshPatch


def modern_crypto(_facts: SshFacts) -> SshPatch:
    """Take away what has better successors in every server since 2016, Dropbear's included."""
    return SshPatch(
        set={
            "kex_algorithms": "-diffie-hellman-*,ecdh-sha2-*",
            "macs": "-hmac-sha1*,umac-64*",
        }
    )
