"""The driver ``fake-warm``: the driver ``fake``, whose machines can begin as one that was saved."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from banger_core.errors import GuestFailed
from banger_core.store.content import write_atomic
from banger_core.testing.fakes.driver import FakeDriver, FakeMachine
from banger_core.warmcontract import WarmKey

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.contracts import Context
    from banger_core.model import LaunchSpec, VmDirs, VmPlan

_SAVED = b"a guest that waits"


class FakeWarmDriver(FakeDriver):
    """What is saved is a line of text; a machine that was to begin as another one does not."""

    def warm_key(self, plan: VmPlan, dirs: VmDirs, accel: str, cx: Context) -> WarmKey:  # noqa: ARG002 - the contract
        """Depend on the memory, and on the initramfs."""
        like, made_with = f"{plan.memory}".encode(), dirs.initrd.read_bytes()
        digests = [hashlib.sha256(each).hexdigest()[:16] for each in (like, made_with)]
        return WarmKey(machine=digests[0], tools=digests[1])

    def launch_warm(self, plan: VmPlan, dirs: VmDirs, accel: str, image: Path) -> LaunchSpec:
        """Say how to start ``vmm.py``, and as what."""
        spec = self.launch(plan, dirs, accel)
        return replace(spec, data={**spec.data, "warm": str(image / "memory")})

    async def start(self, spec: LaunchSpec, cx: Context) -> FakeMachine:
        """Start it. Raises GuestFailed when what was saved is no good."""
        from pathlib import Path

        if (memory := spec.data.get("warm")) and Path(memory).read_bytes() != _SAVED:
            raise GuestFailed("the fake guest does not wake", cause="it is another one")
        return await super().start(spec, cx)

    async def make_warm(
        self, plan: VmPlan, dirs: VmDirs, accel: str, image: Path, cx: Context
    ) -> None:
        """Start one at a port of nobody's, and save it."""
        spec = self.launch(plan, dirs, accel)
        program, host, _, *places = spec.argv
        spec = replace(spec, argv=(program, host, "0", *places))
        machine = await super().start(spec, cx)
        try:
            write_atomic(image / "memory", _SAVED)
        finally:
            await machine.kill()
