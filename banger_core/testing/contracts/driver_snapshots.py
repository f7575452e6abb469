"""The part of the suite for VM drivers that is about snapshots and copies."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from banger_core.config.paths import secure_dir
from banger_core.contracts import RestoringDriver, SavedMachine
from banger_core.engine import process
from banger_core.errors import BangerError
from banger_core.model import VmPlan
from banger_core.store.content import write_atomic
from banger_core.testing.contracts.driver_base import DriverContract
from banger_core.threads import in_thread

if TYPE_CHECKING:
    from banger_core.config.paths import Paths
    from banger_core.testing.context import FakeContext


class SnapshotContract(DriverContract):
    """What is asked of drivers that restore snapshots; and of copies, of those that make some."""

    def test_machine_writes_a_snapshot_or_says_why_not(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._run(self._snapshot(subject, cx, banger_paths))

    def test_snapshot_is_restored_and_goes_on(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._restores(subject)
        self._run(self._restore(subject, cx, banger_paths))

    def test_copies_run_side_by_side_and_are_cut_off_at_first(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        if not self.forks:
            pytest.skip("this driver makes no copies")
        self._restores(subject, "copies run side by side, and are cut off until they are let go")
        self._run(self._copy(subject, cx, banger_paths))

    def test_broken_snapshot_starts_nothing(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._restores(subject)
        self._run(self._break(subject, cx, banger_paths))

    def _restores(self, subject: Any, what: str = "a snapshot is restored") -> None:
        if not isinstance(subject, RestoringDriver):
            pytest.skip("this driver restores no snapshots")
        if why := self.limit():
            pytest.skip(
                f"NOT PROVEN for the driver {self.driver} on this host: that {what} ({why})"
            )

    async def _snapshot(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        _, machine = await self._started(subject, cx, paths)
        into = secure_dir(paths.state / "snapshot")
        try:
            await machine.snapshot(into)
        except BangerError as problem:
            self.asks(problem.summary, "a refusal says what was refused")
            self.asks(not any(into.iterdir()), "nothing is left of a snapshot that failed")
        else:
            self.asks(any(into.iterdir()), "a snapshot is in the directory")
        self.asks(process.alive(machine.process), "a snapshot does not end the VM")
        await self._end(machine)

    async def _restore(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec, machine = await self._started(subject, cx, paths)
        self.asks(isinstance(machine, SavedMachine), "its machines keep SavedMachine")
        needs, offers = await machine.needs(), await subject.offers(spec, cx)
        self.asks(needs and needs == offers, f"what was saved here fits here: {needs}, {offers}")
        into = await self._saved(machine, paths)
        before = _contents(into)
        await self._end(machine)
        self._gone(machine, spec)
        restored = await subject.restore(spec, into, cx)
        try:
            self.asks(process.alive(restored.process), "the VMM runs when restore returns")
            restored = await self._handed_over(subject, spec, restored, cx)
            await restored.resume()
            await restored.connect()
            await restored.connect()
            # One that was saved and goes on can be saved again, running or not
            await restored.snapshot(secure_dir(paths.state / "second"))
            await restored.pause()
            for name in ("third", "fourth"):
                await restored.snapshot(secure_dir(paths.state / name))
            await restored.resume()
            self.asks(process.alive(restored.process), "a restored VM goes on")
        finally:
            await self._end(restored)
        self._gone(restored, spec)
        self.asks(_contents(into) == before, "a snapshot stays as it was written")

    async def _copy(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec, machine = await self._started(subject, cx, paths)
        machines, plans = [machine], []
        try:
            into = await self._saved(machine, paths)
            await machine.resume()
            for number in range(2):
                plan = replace(self.plan(), id=f"c0ffee00000{number}", name=f"sample-{number}")
                apart = replace(paths, runtime=secure_dir(paths.runtime / str(number)))
                copy = subject.launch(plan, self.dirs(apart), self.accel)
                for path, text in copy.files.items():
                    write_atomic(path, text)
                offers = await subject.offers(copy, cx)
                self.asks(offers == await machine.needs(), f"a copy fits beside it: {offers}")
                machines.append(await subject.restore(copy, into, cx))
                plans.append(plan)
            # It is removed as soon as all are there
            shutil.rmtree(into)
            for each, plan in zip(machines[1:], plans, strict=True):
                await each.resume()
                await self._prints(each)
                self.asks(await self._cut(each, plan) is not False, "a copy is cut off at first")
                await each.connect()
                await each.connect()
                self.asks(await self._let_go(each, plan), "connect plugs a copy in")
            for each in machines:
                self.asks(process.alive(each.process), "a VM and its copies run side by side")
        finally:
            for each in machines:
                await self._end(each)
        self._gone(machine, spec)

    async def _prints(self, machine: Any) -> None:
        console = aiter(machine.console())
        self.asks(await anext(console), "the guest of a copy runs")
        await console.aclose()

    async def _cut(self, machine: Any, plan: VmPlan) -> bool | None:
        return await in_thread(lambda: self.cut_off(machine, plan))

    async def _let_go(self, machine: Any, plan: VmPlan) -> bool:
        """Whether a card is plugged in, or is soon: the suite's deadline ends this."""
        while await self._cut(machine, plan):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return True

    async def _break(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec, machine = await self._started(subject, cx, paths)
        into = await self._saved(machine, paths)
        await self._end(machine)
        for path in into.iterdir():
            os.truncate(path, path.stat().st_size // 2)
        cut = subject.restore(spec, into, cx)
        await self.refuses(BangerError, cut, "a snapshot that was cut off")
        for path in into.iterdir():
            path.unlink()
        empty = subject.restore(spec, into, cx)
        await self.refuses(BangerError, empty, "a snapshot with nothing in it")
        self._gone(machine, spec)
        self.asks(not any(map(process.alive, cx.spawned)), "nothing runs after a failed restore")

    async def _saved(self, machine: Any, paths: Paths) -> Path:
        into = secure_dir(paths.state / "snapshot")
        await machine.pause()
        await machine.snapshot(into)
        for path in into.iterdir():
            self.asks(not path.lstat().st_mode & 0o077, f"only its owner may read {path.name}")
        return into


def _contents(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }
