"""A guest runtime whose programs have the right form and no content."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from banger_core.model import GuestFiles, GuestPin
from banger_core.testing.fakes.kernels import ELF

if TYPE_CHECKING:
    from banger_core.contracts import Context

_PROGRAMS = ("busybox", "dropbear", "sftp-server", "scp")
_LOADER = "ld-fake.so"


class FakeRuntime:
    """Always the same programs."""

    async def resolve(self, architecture: str, cx: Context) -> GuestPin:  # noqa: ARG002 - the contract
        """Pin them."""
        return GuestPin(
            runtime="fake",
            digest="sha256:" + hashlib.sha256(ELF).hexdigest(),
            architecture=architecture,
            versions={"busybox": "0"},
        )

    async def materialise(self, pin: GuestPin, cx: Context) -> GuestFiles:  # noqa: ARG002 - the contract
        """Write them."""
        for name in (*_PROGRAMS, _LOADER):
            (cx.cache_dir / name).write_bytes(ELF)
        return GuestFiles(
            programs={name: cx.cache_dir / name for name in _PROGRAMS},
            libraries={_LOADER: cx.cache_dir / _LOADER},
            loader=_LOADER,
        )
