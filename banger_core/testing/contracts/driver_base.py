"""What the suites for VM drivers share: a VMM that is started, handed over and ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from banger_core.config.paths import secure_dir
from banger_core.engine import process
from banger_core.jsonable import from_json, to_json
from banger_core.model import LaunchSpec, VmDirs, VmPlan
from banger_core.store.content import write_atomic
from banger_core.testing import leaks
from banger_core.testing.contracts.base import Contract
from banger_core.testing.contracts.samples import free_net, sample_dirs, sample_plan

if TYPE_CHECKING:
    from banger_core.config.paths import Paths
    from banger_core.testing.context import FakeContext

_DEADLINE = 240.0


class DriverContract(Contract):
    """What ``VmmDriverContract`` describes: the driver under test, and VMs to try it with."""

    contract: ClassVar[str] = "VmmDriver"
    driver: str
    disk_format: ClassVar[str] = "raw"
    accel: ClassVar[str] = "tcg"
    golden: ClassVar[Path | None] = None
    boots: ClassVar[bool] = False
    forks: ClassVar[bool] = False

    def limit(self) -> str:
        """Why no guest can run here."""
        return ""

    def cut_off(self, machine: Any, plan: VmPlan) -> bool | None:  # noqa: ARG002 - for others
        """Whether the network card of a restored machine is unplugged, where this host can see
        that; None where it cannot. Asked in a worker thread.
        """
        return None

    def plan(self) -> VmPlan:
        """The VM to boot."""
        return sample_plan(driver=self.driver, disk_format=self.disk_format, net=free_net())

    def dirs(self, paths: Paths) -> VmDirs:
        """Its files; the directories exist."""
        dirs = sample_dirs(paths.runtime)
        for directory in (dirs.state, dirs.runtime):
            secure_dir(directory)
        return dirs

    def _run(self, test: Coroutine[Any, Any, None]) -> None:
        if not self.boots:
            test.close()
            pytest.skip("nothing here can boot")
        asyncio.run(asyncio.wait_for(test, _DEADLINE))

    async def _handed_over(
        self, subject: Any, spec: LaunchSpec, machine: Any, cx: FakeContext
    ) -> Any:
        """What a daemon that ends, and the next one, do with a VM."""
        await machine.close()
        await machine.close()
        return await subject.adopt(from_json_launch(spec), machine.process, cx)

    async def _end(self, machine: Any) -> None:
        await machine.kill()
        await machine.close()

    def _gone(self, machine: Any, spec: LaunchSpec) -> None:
        self.asks(not process.alive(machine.process), "the VMM is gone")
        users = leaks.processes_using(next(iter(spec.sockets.values())).parent)
        self.asks(not users, f"nothing of it runs any more: {leaks.end(users)}")

    async def _started(self, subject: Any, cx: FakeContext, paths: Paths) -> tuple[LaunchSpec, Any]:
        spec = self._launched(subject, paths)
        return spec, await subject.start(spec, cx)

    def _launched(self, subject: Any, paths: Paths) -> LaunchSpec:
        self.plan_used = self.plan()
        spec: LaunchSpec = subject.launch(self.plan_used, self.dirs(paths), self.accel)
        for path, text in spec.files.items():
            write_atomic(path, text)
        return spec


def from_json_launch(spec: LaunchSpec) -> LaunchSpec:
    """Return ``spec`` after a way through JSON text."""
    return from_json(LaunchSpec, json.loads(json.dumps(to_json(spec))))
