"""The suite for VM drivers."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from banger_core.config.paths import SOCKET_PATH_MAX, secure_dir
from banger_core.jsonable import to_json
from banger_core.model import LaunchSpec, VmDirs, VmPlan
from banger_core.testing.contracts.base import Contract
from banger_core.testing.contracts.samples import free_net, sample_dirs, sample_plan

if TYPE_CHECKING:
    from banger_core.config.paths import Paths
    from banger_core.testing.context import FakeContext

UPDATE = "BANGER_UPDATE_GOLDEN"
"""Set it to write golden files anew, then read the difference."""

_DEADLINE = 20.0


class VmmDriverContract(Contract):
    """Set ``make``, ``driver`` (its declared name), and ``golden``: a file that holds the launch
    of a sample VM, to be read in reviews. With ``boots = True`` a VMM is really started, from
    ``plan()`` and ``dirs()``, which you then override with what can boot.
    """

    contract: ClassVar[str] = "VmmDriver"
    driver: str
    disk_format: ClassVar[str] = "raw"
    accel: ClassVar[str] = "tcg"
    golden: ClassVar[Path | None] = None
    boots: ClassVar[bool] = False

    def plan(self) -> VmPlan:
        """The VM to boot."""
        return sample_plan(driver=self.driver, disk_format=self.disk_format, net=free_net())

    def dirs(self, paths: Paths) -> VmDirs:
        """Its files; the directories exist."""
        dirs = sample_dirs(paths.runtime)
        for directory in (dirs.state, dirs.runtime):
            secure_dir(directory)
        return dirs

    def test_launch_is_pure(self, subject: Any, tmp_path: Path) -> None:
        plan = sample_plan(driver=self.driver, disk_format=self.disk_format)
        dirs = sample_dirs(tmp_path)
        first, second = (subject.launch(plan, dirs, self.accel) for _ in range(2))
        self.asks(first == second, "launch gives the same answer for the same input")
        self.asks(not any(tmp_path.iterdir()), "launch writes nothing")

    def test_launch_can_be_run_and_stored(self, subject: Any) -> None:
        spec = self._sample_launch(subject)
        self.asks(isinstance(spec, LaunchSpec), f"launch returns a LaunchSpec, not {spec!r}")
        words = spec.argv and all(word and "\0" not in word for word in spec.argv)
        self.asks(words, f"argv is a command, not {spec.argv}")
        self.asks(spec.driver == self.driver, "the launch names its driver")
        for name, socket in spec.sockets.items():
            short = len(os.fsencode(socket)) <= SOCKET_PATH_MAX
            self.asks(short, f"the path of socket {name} fits into {SOCKET_PATH_MAX} bytes")
            inside = socket.is_relative_to("/run/banger/vm")
            self.asks(inside, f"socket {name} lies in the VM's directories: {socket}")
        stored = from_json_launch(spec)
        self.asks(stored == spec, "a launch comes back unchanged from JSON, for adoption")

    def test_launch_is_the_golden_one(self, subject: Any) -> None:
        if self.golden is None:
            pytest.skip("no golden file is named")
        text = json.dumps(to_json(self._sample_launch(subject)), indent=1, sort_keys=True) + "\n"
        if os.environ.get(UPDATE):
            self.golden.write_text(text)
        kept = self.golden.read_text() if self.golden.exists() else ""
        assert text == kept, f"the launch has changed; if that is meant, run with {UPDATE}=1"

    def test_machine_starts_is_adopted_and_ends(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._needs_boot()
        asyncio.run(asyncio.wait_for(self._adopt_and_kill(subject, cx, banger_paths), _DEADLINE))

    def test_machine_stops_when_asked(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._needs_boot()
        asyncio.run(asyncio.wait_for(self._stop(subject, cx, banger_paths), _DEADLINE))

    def test_helper_can_be_reached_again(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._needs_boot()
        asyncio.run(asyncio.wait_for(self._help(subject, cx, banger_paths), _DEADLINE))

    async def _help(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        from banger_core.contracts import HelperMachine

        spec, machine = await self._started(subject, cx, paths)
        try:
            if not isinstance(machine, HelperMachine):
                pytest.skip("this driver has no channel to the guest helper")
            for each in (machine, await subject.adopt(spec, machine.process, cx)):
                _, writer = await each.helper()
                self.asks(not writer.is_closing(), "helper gives an open connection")
                writer.close()
        finally:
            await machine.kill()
            await machine.wait()

    async def _adopt_and_kill(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        from banger_core.engine import process

        spec, machine = await self._started(subject, cx, paths)
        self.asks(process.alive(machine.process), "the VMM runs when start returns")
        adopted = await subject.adopt(spec, machine.process, cx)
        self.asks(adopted.process == machine.process, "adopt takes over that very process")
        waiting = asyncio.create_task(adopted.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        self.asks(process.alive(machine.process), "cancelling wait leaves the VM alone")
        await adopted.kill()
        await adopted.kill()
        self.asks(not process.alive(machine.process), "after kill the VMM is gone")
        ended = await machine.wait()
        self.asks(ended.reason, "wait says why the VM ended")

    async def _stop(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        _, machine = await self._started(subject, cx, paths)
        console = aiter(machine.console())
        self.asks(await anext(console), "the console is bytes as they come")
        await machine.stop(grace=5.0)
        await machine.kill()
        await machine.wait()

    async def _started(self, subject: Any, cx: FakeContext, paths: Paths) -> tuple[LaunchSpec, Any]:
        from banger_core.store.content import write_atomic

        spec = subject.launch(self.plan(), self.dirs(paths), self.accel)
        for path, text in spec.files.items():
            write_atomic(path, text)
        return spec, await subject.start(spec, cx)

    def _sample_launch(self, subject: Any) -> LaunchSpec:
        plan = sample_plan(driver=self.driver, disk_format=self.disk_format)
        spec: LaunchSpec = subject.launch(plan, sample_dirs(Path("/run/banger/vm")), self.accel)
        return spec

    def _needs_boot(self) -> None:
        if not self.boots:
            pytest.skip("nothing here can boot")


def from_json_launch(spec: LaunchSpec) -> LaunchSpec:
    """Return ``spec`` after a way through JSON text."""
    from banger_core.jsonable import from_json

    return from_json(LaunchSpec, json.loads(json.dumps(to_json(spec))))
