"""A guest runtime whose programs cannot run."""

from __future__ import annotations

import hashlib

from banger_core.api import Context, GuestFiles, GuestPin

# An ELF header (64 bit, little endian, x86-64) and nothing behind it
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00\x01\x00\x00\x00" + bytes(40)
PROGRAMS = ("busybox", "dropbear", "sftp-server", "scp")


class FrozenRuntime:
    """Always the same programs."""

    async def resolve(self, architecture: str, cx: Context) -> GuestPin:
        """Pin them."""
        digest = "sha256:" + hashlib.sha256(ELF).hexdigest()
        return GuestPin(runtime="frozen", digest=digest, architecture=architecture)

    async def materialise(self, pin: GuestPin, cx: Context) -> GuestFiles:
        """Write them."""
        for name in (*PROGRAMS, "ld.so"):
            (cx.cache_dir / name).write_bytes(ELF)
        return GuestFiles(
            programs={name: cx.cache_dir / name for name in PROGRAMS},
            libraries={"ld.so": cx.cache_dir / "ld.so"},
            loader="ld.so",
        )
