"""A host key that is not the one that was pinned: what to say. Loaded only when it happens."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from pathlib import Path

from banger_core.errors import GuestFailed

_REFUSED = b"Host key verification failed."
_FOUND = re.compile(
    rb"^debug1: Server host key: (\S{1,99}) (SHA256:[A-Za-z0-9+/]{43})\r?$", re.MULTILINE
)
_PINNED = re.compile(rb"^Offending \S+ key in (/[^\r\n]+):(\d{1,9})\r?$", re.MULTILINE)


def wrong_host_key(name: str, log: bytes) -> GuestFailed | None:
    """Return the failure when ``log``, what ssh logged at ``-vv``, says that the host key of the
    VM ``name`` was refused; None when it does not.
    """
    if _REFUSED not in log.splitlines():
        return None
    found = _FOUND.search(log)
    shown = f"{found[1].decode()} {found[2].decode()}" if found else "a key that ssh does not show"
    pinned = _pinned(log)
    hints = ["banger ssh known-hosts", f"banger ssh forget {name}   (when you know why it changed)"]
    if pinned is None:
        return GuestFailed(
            f"{name} shows a host key that nobody has pinned",
            cause=f"it shows {shown}, and no key is known for it; "
            "it may be somebody in the middle (man in the middle)",
            hints=hints,
        )
    return GuestFailed(
        f"the host key of {name} has changed: possible man in the middle",
        cause=f"expected {pinned}, found {shown}",
        hints=hints,
    )


def _pinned(log: bytes) -> str | None:
    """The pinned key that stood in the way, as ssh-keygen(1) shows fingerprints."""
    place = _PINNED.search(log)
    if place is None:
        return None
    try:
        line = Path(place[1].decode()).read_bytes().splitlines()[int(place[2]) - 1]
        kind, key = re.findall(rb"\S+", line)[1:3]
        digest = hashlib.sha256(base64.b64decode(key, validate=True)).digest()
    except (OSError, ValueError, IndexError, binascii.Error):
        return "another one"
    fingerprint = base64.b64encode(digest).decode().rstrip("=")
    return f"{kind.decode('ascii', 'replace')} SHA256:{fingerprint}"
