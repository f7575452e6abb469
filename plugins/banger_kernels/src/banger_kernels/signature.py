"""Who has signed a feed: judged by the key that the configuration names."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.api import BangerError, HostNotReady, IntegrityError, quoted, write_atomic
from banger_kernels import minisign
from banger_kernels.keys import NAMESPACE, MinisignKey, SshKey

if TYPE_CHECKING:
    from banger_core.api import Context

_ARMOUR = b"-----BEGIN SSH SIGNATURE-----"


async def verify(
    document: bytes, signature: bytes, key: MinisignKey | SshKey, what: str, cx: Context
) -> int:
    """Check that ``key`` has signed ``document``; ``what`` names it in errors.

    Returns when that was, in seconds since the epoch, where the signature vouches for it, else 0.
    Raises IntegrityError, and HostNotReady when what it takes is not installed.
    """
    if isinstance(key, MinisignKey):
        return minisign.verify(document, signature, key, what)
    await _ssh(document, signature, key, what, cx)
    return 0


async def _ssh(document: bytes, signature: bytes, key: SshKey, what: str, cx: Context) -> None:
    if not signature.startswith(_ARMOUR):
        raise IntegrityError(
            f"{what} has no OpenSSH signature", cause=f"it begins with {quoted(signature[:40])}"
        )
    with tempfile.TemporaryDirectory(dir=cx.cache_dir, prefix="signature-") as place:
        allowed, signed = Path(place, "allowed_signers"), Path(place, "signature")
        write_atomic(allowed, f"{key.line}\n")
        write_atomic(signed, signature)
        argv = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", key.signer]
        argv += ["-f", str(allowed), "-s", str(signed)]
        try:
            await cx.run(argv, stdin=document)
        except HostNotReady:
            raise
        except BangerError as problem:
            raise IntegrityError(
                f"{what} is not signed by {key.signer}",
                cause=f"ssh-keygen: {quoted(problem.cause, 300)}",
                hints=["ask its publisher whether the key has changed, before changing it here"],
            ) from problem
