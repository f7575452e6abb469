"""The suite for VM drivers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from banger_core.config.paths import SOCKET_PATH_MAX
from banger_core.contracts import ForwardingMachine, HelperMachine
from banger_core.engine import process
from banger_core.errors import BangerError, Conflict, GuestFailed
from banger_core.jsonable import to_json
from banger_core.model import Forward, LaunchSpec
from banger_core.networks.loopback import can_bind
from banger_core.testing.contracts.driver_base import from_json_launch
from banger_core.testing.contracts.driver_snapshots import SnapshotContract
from banger_core.testing.contracts.samples import free_net, sample_dirs, sample_plan
from banger_core.warmcontract import WarmDriver

if TYPE_CHECKING:
    from banger_core.config.paths import Paths
    from banger_core.testing.context import FakeContext

UPDATE = "BANGER_UPDATE_GOLDEN"
"""Set it to write golden files anew, then read the difference."""


class VmmDriverContract(SnapshotContract):
    """Set ``make``, ``driver`` (its declared name), and ``golden``: a file that holds the launch
    of a sample VM, to be read in reviews. With ``boots = True`` a VMM is really started, from
    ``plan()`` and ``dirs()``, which you then override with what can boot.

    ``limit()`` says why this host can start the VMM and yet run no instruction of a guest (empty:
    it can); what needs a guest that runs is then not proven, and one skipped test names it.

    ``forks = True`` for a driver that declares the feature ``fork``; ``cut_off()`` looks at a copy.
    """

    def test_launch_is_pure(self, subject: Any, tmp_path: Path) -> None:
        plan = sample_plan(driver=self.driver, disk_format=self.disk_format)
        dirs = sample_dirs(tmp_path)
        first, second = (subject.launch(plan, dirs, self.accel) for _ in range(2))
        self.asks(first == second, "launch gives the same answer for the same input")
        self.asks(not any(tmp_path.iterdir()), "launch writes nothing")

    def test_warm_launch_is_pure_and_can_be_stored(self, subject: Any, tmp_path: Path) -> None:
        if not isinstance(subject, WarmDriver):
            pytest.skip("this driver's machines boot")
        plan = sample_plan(driver=self.driver, disk_format=self.disk_format)
        image = Path("/run/banger/image")
        first, second = (
            subject.launch_warm(plan, sample_dirs(tmp_path), self.accel, image) for _ in range(2)
        )
        self.asks(first == second, "launch_warm gives the same answer for the same input")
        self.asks(not any(tmp_path.iterdir()), "launch_warm writes nothing")
        self.asks(from_json_launch(first) == first, "a warm launch comes back unchanged from JSON")

    def test_warm_key_is_the_machines_not_the_vms(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        if not self.boots or not isinstance(subject, WarmDriver):
            pytest.skip("this driver's machines boot")
        plan, dirs = self.plan(), self.dirs(banger_paths)
        key = subject.warm_key(plan, dirs, self.accel, cx)
        other = replace(plan, id="ba9876543210", name="other", net=free_net())
        elsewhere = replace(dirs, root_disk=dirs.state / "other", seed=dirs.state / "seed")
        same = subject.warm_key(other, elsewhere, self.accel, cx)
        self.asks(key is not None and key == same, "VMs that are alike begin as the same machine")
        larger = subject.warm_key(replace(plan, memory=plan.memory * 2), dirs, self.accel, cx)
        differs = key is not None and larger is not None and larger.machine != key.machine
        self.asks(differs, "another size of memory is another machine")

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
        self.asks(self.golden, "a golden file shows reviewers what is launched")
        assert self.golden
        text = json.dumps(to_json(self._sample_launch(subject)), indent=1, sort_keys=True) + "\n"
        if os.environ.get(UPDATE):
            self.golden.write_text(text)
        kept = self.golden.read_text() if self.golden.exists() else ""
        assert text == kept, f"the launch has changed; if that is meant, run with {UPDATE}=1"

    def test_machine_starts_is_adopted_and_ends(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._run(self._adopt_and_kill(subject, cx, banger_paths))

    def test_machine_is_private(self, subject: Any, cx: FakeContext, banger_paths: Paths) -> None:
        self._run(self._look_at_modes(subject, cx, banger_paths))

    def test_machine_pauses_and_resumes(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._run(self._pause(subject, cx, banger_paths))

    def test_machine_publishes_ports_while_it_runs(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._run(self._publish(subject, cx, banger_paths))

    def test_failed_start_leaves_nothing(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._run(self._fail(subject, cx, banger_paths))

    def test_cancelled_start_leaves_nothing(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._run(self._cancel(subject, cx, banger_paths))

    def test_guest_prints_and_stops_when_asked(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        if why := self.limit():
            pytest.skip(
                f"NOT PROVEN for the driver {self.driver} on this host: that a guest's console "
                f"is relayed, to an adopter too, and that a guest ends when asked ({why})"
            )
        self._run(self._stop(subject, cx, banger_paths))

    def test_helper_can_be_reached_again(
        self, subject: Any, cx: FakeContext, banger_paths: Paths
    ) -> None:
        self._run(self._help(subject, cx, banger_paths))

    async def _adopt_and_kill(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec, machine = await self._started(subject, cx, paths)
        self.asks(process.alive(machine.process), "the VMM runs when start returns")
        adopted = await self._handed_over(subject, spec, machine, cx)
        self.asks(adopted.process == machine.process, "adopt takes over that very process")
        waiting = asyncio.create_task(adopted.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        self.asks(process.alive(machine.process), "cancelling wait leaves the VM alone")
        both = asyncio.gather(machine.wait(), adopted.wait())
        process.signal(machine.process, signal.SIGKILL)
        for ended in await both:
            self.asks(ended.reason, "wait says why the VM ended")
        await adopted.kill()
        await self._end(adopted)
        self._gone(machine, spec)

    async def _look_at_modes(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec, machine = await self._started(subject, cx, paths)
        for socket in spec.sockets.values():
            self.asks(stat.S_ISSOCK(socket.lstat().st_mode), f"{socket.name} is there after start")
        for path in (paths.runtime, *paths.runtime.rglob("*")):
            try:
                state = path.lstat()
            except FileNotFoundError:
                # A file that is written whole or not at all has just got its name
                continue
            closed = path.is_symlink() or not state.st_mode & 0o077
            self.asks(closed, f"only its owner may use {path.name}: {stat.filemode(state.st_mode)}")
        await self._end(machine)

    async def _pause(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec, machine = await self._started(subject, cx, paths)
        await machine.pause()
        adopted = await self._handed_over(subject, spec, machine, cx)
        await adopted.resume()
        self.asks(process.alive(machine.process), "pausing and resuming does not end the VM")
        await self._end(adopted)
        self._gone(machine, spec)

    async def _publish(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec, machine = await self._started(subject, cx, paths)
        try:
            published = self.plan_used.net.forwards
            for each in published:
                self.asks(not _free(each), f"{each} is taken from the start")
            if not isinstance(machine, ForwardingMachine):
                return
            first = published[0]
            for protocol in ("tcp", "udp"):
                new = replace(first, host_port=first.host_port + 1, protocol=protocol)
                await machine.add_forward(new)
                self.asks(not _free(new), f"{protocol}: a port that was added is taken")
                machine = await self._handed_over(subject, spec, machine, cx)
                await self.refuses(Conflict, machine.add_forward(new), "adding it once more")
                await machine.remove_forward(new)
                await machine.remove_forward(new)
                self.asks(_free(new), f"{protocol}: a port that was removed is free")
        finally:
            await self._end(machine)
        self.asks(all(map(_free, published)), "no port is taken when the VM has ended")

    async def _help(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec, machine = await self._started(subject, cx, paths)
        try:
            if not isinstance(machine, HelperMachine):
                pytest.skip("this driver has no channel to the guest helper")
            await self._reach_helper(machine)
            machine = await self._handed_over(subject, spec, machine, cx)
            await self._reach_helper(machine)
        finally:
            await self._end(machine)

    async def _reach_helper(self, machine: HelperMachine) -> None:
        try:
            _, writer = await machine.helper()
        except (OSError, GuestFailed):
            # With vsock the guest itself accepts, or does not
            return
        self.asks(not writer.is_closing(), "helper gives an open connection")
        writer.close()

    async def _fail(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec = self._launched(subject, paths)
        spoiled = replace(spec, argv=(*spec.argv, "--no-such-option-of-any-vmm"))
        try:
            await subject.start(spoiled, cx)
        except BangerError as problem:
            self.asks(problem.cause, "a VMM that ends at once is an error with its cause")
        else:
            self.asks(False, "start raises BangerError when the VMM ends at once")
        self.asks(not any(map(process.alive, cx.spawned)), "nothing runs after a failed start")

    async def _cancel(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec = self._launched(subject, paths)
        starting = asyncio.create_task(subject.start(spec, cx))
        while not (process.recorded(paths.runtime / "run") or starting.done()):  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        starting.cancel()
        await asyncio.wait({starting})
        if not starting.cancelled():
            await self._end(starting.result())
        last = process.recorded(paths.runtime / "run")
        self.asks(last is None or not process.alive(last), "nothing runs after a cancelled start")

    async def _stop(self, subject: Any, cx: FakeContext, paths: Paths) -> None:
        spec, machine = await self._started(subject, cx, paths)
        console = aiter(machine.console())
        self.asks(await anext(console), "the console is bytes as they come")
        await console.aclose()
        adopted = await self._handed_over(subject, spec, machine, cx)
        following = asyncio.create_task(_to_the_end(adopted.console()))
        await adopted.stop(grace=15.0)
        self.asks(not process.alive(machine.process), "a guest that is asked to end has ended")
        await following
        ended = await adopted.wait()
        await adopted.close()
        self.asks(
            ended.reason != "killed", "wait tells a guest that ended from one that was killed"
        )

    def _sample_launch(self, subject: Any) -> LaunchSpec:
        plan = sample_plan(driver=self.driver, disk_format=self.disk_format)
        spec: LaunchSpec = subject.launch(plan, sample_dirs(Path("/run/banger/vm")), self.accel)
        return spec


def _free(forward: Forward) -> bool:
    return can_bind(forward.host_address, forward.host_port, forward.protocol)


async def _to_the_end(console: AsyncIterator[bytes]) -> None:
    async for _ in console:
        pass
