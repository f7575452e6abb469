"""ACME's policy: what every connection to a machine must be like."""

from __future__ import annotations

from importlib.resources import files

from banger_core.api import SshFacts, SshPatch

AUTHORITIES = tuple(files(__package__).joinpath("authority.pub").read_text().splitlines())
"""Who signs ACME's host and user keys, as ssh-keygen writes public keys."""

CERTIFICATE = "/var/lib/acme/ssh/user-cert.pub"
"""Where ACME's login service leaves the user's certificate, new every morning."""

IDLE_LIMIT = 15 * 60
"""Seconds without traffic after which a guest hangs up."""


def acme(facts: SshFacts) -> SshPatch:
    """Return ACME's wishes, the same for every machine, all of them locked.

    Nothing of it comes from ``facts.settings``: those are the user's to write.
    """
    del facts
    wishes = {
        "agent_forwarding": False,
        "certificate": CERTIFICATE,
        "host_authorities": AUTHORITIES,
        "idle_limit": IDLE_LIMIT,
        "ca_signature_algorithms": "ssh-ed25519",
        "ciphers": "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com",
        "kex_algorithms": "curve25519-sha256,curve25519-sha256@libssh.org",
    }
    return SshPatch(set=wishes, lock=frozenset(wishes))
