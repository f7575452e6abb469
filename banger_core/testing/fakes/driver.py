"""The driver ``fake``: launches ``vmm.py`` where others launch a virtual machine monitor."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.engine import process as processes
from banger_core.errors import BangerError, HostNotReady, IntegrityError
from banger_core.model import LaunchSpec, MachineExit
from banger_core.store.content import write_atomic

if TYPE_CHECKING:
    from banger_core.contracts import Context
    from banger_core.model import Accel, ProcessId, VmDirs, VmPlan

_PROGRAM = str(Path(__file__).with_name("vmm.py"))
_START_DEADLINE = 60.0
_VERSION = "1"
_STATE = "state.json"


class FakeDriver:
    """Runs "VMs" that boot in a tenth of a second. One with the label ``guest=stubborn`` does not
    shut down when it is asked to, one with ``guest=unchanging`` does not become another.
    """

    async def accel(self, wanted: Accel, dirs: VmDirs, cx: Context) -> str:  # noqa: ARG002 - the contract
        """Choose ``tcg``. Raises HostNotReady when ``kvm`` is demanded."""
        if wanted == "kvm":
            raise HostNotReady("the fake driver has no KVM", hints=["--accel auto"])
        return "tcg"

    def launch(self, plan: VmPlan, dirs: VmDirs, accel: str) -> LaunchSpec:
        """Say how to start ``vmm.py``."""
        host, port = plan.net.ssh
        sockets = {name: dirs.runtime / f"{name}.sock" for name in ("console", "helper")}
        end = str(dirs.runtime / "end")
        places = (str(sockets["console"]), str(sockets["helper"]), end)
        nature = plan.labels.get("guest", "")
        natures = (nature,) if nature in ("stubborn", "unchanging") else ()
        argv = ("banger-fake-vmm", host, str(port), *places, *natures)
        return LaunchSpec(
            driver="fake",
            argv=argv,
            files={dirs.runtime / "fake.conf": f"accel={accel}\nmemory={plan.memory}\n"},
            sockets=sockets,
            data={"directory": str(dirs.runtime), "end": end, "memory": plan.memory},
        )

    async def start(self, spec: LaunchSpec, cx: Context) -> FakeMachine:
        """Start it and wait until its console is there. Raises BangerError when it ends first."""
        console = spec.sockets["console"]
        for leftover in (*spec.sockets.values(), Path(spec.data["end"])):
            leftover.unlink(missing_ok=True)
        argv = (sys.executable, "-I", "-S", _PROGRAM, *spec.argv[1:])
        machine = FakeMachine(spec, await cx.spawn(argv, directory=Path(spec.data["directory"])))
        try:
            async with asyncio.timeout(_START_DEADLINE):
                while not console.exists() and processes.alive(machine.process):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except BaseException:
            await machine.kill()
            raise
        if not console.exists():
            words = processes.last_words(Path(spec.data["directory"]))
            raise BangerError(
                "the fake VMM ended at once", cause=words[-1] if words else "it said nothing"
            )
        return machine

    async def adopt(self, spec: LaunchSpec, process: ProcessId, cx: Context) -> FakeMachine:  # noqa: ARG002 - the contract
        """Take it over."""
        return FakeMachine(spec, process)

    async def offers(self, spec: LaunchSpec, cx: Context) -> Mapping[str, str]:  # noqa: ARG002 - the contract
        """Say what there is."""
        return _requirements(spec)

    async def restore(self, spec: LaunchSpec, source: Path, cx: Context) -> FakeMachine:
        """Start it, standing still and cut off. Raises IntegrityError for what is no snapshot."""
        try:
            json.loads((source / _STATE).read_text())["memory"]
        except (OSError, ValueError, KeyError) as problem:
            raise IntegrityError(
                "the fake VMM takes no such snapshot", cause=str(problem)
            ) from None
        machine = await self.start(replace(spec, argv=(*spec.argv, "held")), cx)
        await machine.pause()
        return machine


class FakeMachine:
    """One fake VM that runs."""

    def __init__(self, spec: LaunchSpec, process: ProcessId) -> None:
        self._spec, self._process = spec, process

    @property
    def process(self) -> ProcessId:
        """The process of ``vmm.py``."""
        return self._process

    async def wait(self) -> MachineExit:
        """Return when it has ended, and why."""
        await processes.wait_gone(self._process)
        end = Path(self._spec.data["end"])
        reason = end.read_text() if end.exists() else "killed"
        return MachineExit(status=processes.exit_status(self._process), reason=reason)

    async def console(self) -> AsyncIterator[bytes]:
        """What it says."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._spec.sockets["console"])
        except OSError:
            return
        try:
            # One that is killed resets the connection
            with suppress(ConnectionError):
                while data := await reader.read(4096):
                    yield data
        finally:
            writer.close()

    async def helper(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to its helper. Raises OSError when it has ended."""
        return await asyncio.open_unix_connection(self._spec.sockets["helper"])

    async def stop(self, grace: float) -> None:
        """Ask it to end."""
        processes.signal(self._process, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await processes.wait_gone(self._process)
        except TimeoutError:
            return

    async def kill(self) -> None:
        """End it."""
        processes.signal(self._process, signal.SIGKILL)
        await processes.wait_gone(self._process)

    async def pause(self) -> None:
        """Stop the process."""
        processes.signal(self._process, signal.SIGSTOP)

    async def resume(self) -> None:
        """Let it go on."""
        processes.signal(self._process, signal.SIGCONT)

    async def snapshot(self, into: Path) -> None:
        """Write down how much memory there is."""
        write_atomic(into / _STATE, json.dumps(_requirements(self._spec)))

    async def needs(self) -> Mapping[str, str]:
        """Say what a snapshot needs."""
        return _requirements(self._spec)

    async def connect(self) -> None:
        """Have it listen for SSH. Idempotent."""
        processes.signal(self._process, signal.SIGUSR1)

    async def close(self) -> None:
        """Nothing is held."""


def _requirements(spec: LaunchSpec) -> dict[str, str]:
    return {"fake": _VERSION, "memory": str(spec.data["memory"])}
