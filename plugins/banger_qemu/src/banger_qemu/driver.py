"""The VM driver (``contracts.VmmDriver``)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from banger_core.api import (
    Accel,
    BangerError,
    Context,
    Fence,
    GuestFailed,
    HostNotReady,
    LaunchSpec,
    ProcessId,
    VmDirs,
    VmPlan,
    WarmKey,
    in_thread,
    process_alive,
)
from banger_qemu.command import RamFile, command_line, waiting_command_line
from banger_qemu.lastwords import explain_end, last_line
from banger_qemu.machine import QemuMachine
from banger_qemu.machines import find_binary
from banger_qemu.probe import decide
from banger_qemu.qmp import Qmp
from banger_qemu.snapshots import open_state, requirements, written_version
from banger_qemu.tsc import host_tsc_khz
from banger_qemu.warm import memory_file
from banger_qemu.warm_key import warm_key

START_DEADLINE = 15.0
INCOMING = ("-incoming", "defer")
_POLL = 0.01


class QemuDriver:
    """Runs VMs with QEMU. ``tsc_khz`` fixes the speed of the host's time-stamp counter; by
    default it is measured once.
    """

    def __init__(self, tsc_khz: int | None = None) -> None:
        self._tsc_khz = tsc_khz

    async def accel(self, wanted: Accel, dirs: VmDirs, cx: Context) -> str:
        """Decide ``kvm`` or ``tcg``. Raises HostNotReady when ``kvm`` is wanted and does not
        boot a guest.
        """
        if self._tsc_khz is None:
            self._tsc_khz = await in_thread(host_tsc_khz)
        if wanted == "tcg":
            return "tcg"
        verdict = await decide(dirs.kernel, dirs.initrd, cx)
        if wanted == "kvm" and verdict.accel != "kvm":
            raise HostNotReady(
                "hardware virtualisation (KVM) does not work here",
                cause=verdict.reason,
                hints=["--accel tcg", "banger doctor"],
            )
        return verdict.accel

    def launch(self, plan: VmPlan, dirs: VmDirs, accel: str) -> LaunchSpec:
        """Say how to start the VM."""
        return self._launch(plan, dirs, accel)

    def _launch(
        self, plan: VmPlan, dirs: VmDirs, accel: str, ram: RamFile | None = None
    ) -> LaunchSpec:
        sockets = _sockets(dirs)
        fence = Fence.around(plan.net)
        return LaunchSpec(
            driver="qemu",
            argv=command_line(plan, dirs, accel, self._tsc(), sockets, ram),
            sockets=sockets,
            data={"accel": accel, "fence": asdict(fence) if fence else None},
        )

    def _tsc(self) -> int | None:
        return self._tsc_khz if self._tsc_khz is not None else host_tsc_khz()

    async def start(self, spec: LaunchSpec, cx: Context) -> QemuMachine:
        """Start QEMU and return when it answers on its control socket; a warm one when its guest
        goes on.

        Raises HostNotReady when it is not installed, Conflict when a port of the host is taken,
        and GuestFailed with its last words when it ends at once.
        """
        image = spec.data.get("warm")
        if image is None:
            return await self._run(spec, (), QemuMachine.open_gate, cx)

        async def begin(machine: QemuMachine) -> None:
            await machine.open_gate()
            await machine.wake(Path(image))

        return await self._run(spec, INCOMING, begin, cx)

    def warm_key(self, plan: VmPlan, dirs: VmDirs, accel: str, cx: Context) -> WarmKey | None:
        """Say on what a machine depends that such a VM could begin as."""
        return warm_key(plan, dirs, accel, cx)

    def launch_warm(self, plan: VmPlan, dirs: VmDirs, accel: str, image: Path) -> LaunchSpec:
        """Say how to start the VM as the machine that was saved in ``image``."""
        spec = self._launch(plan, dirs, accel, RamFile(memory_file(image), shared=False))
        return replace(spec, data={**spec.data, "warm": str(image)})

    async def make_warm(
        self, plan: VmPlan, dirs: VmDirs, accel: str, image: Path, cx: Context
    ) -> None:
        """Boot a machine as ``plan`` has it, but nobody's, and save it into ``image``."""
        sockets = _sockets(dirs)
        ram = RamFile(memory_file(image), shared=True)
        argv = waiting_command_line(plan, dirs, accel, self._tsc(), sockets, ram)
        spec = LaunchSpec(driver="qemu", argv=argv, sockets=sockets)

        async def begin(machine: QemuMachine) -> None:
            await machine.save_waiting(image)

        machine = await self._run(spec, (), begin, cx, polite=True)
        await machine.kill()
        await machine.close()

    async def offers(self, spec: LaunchSpec, cx: Context) -> Mapping[str, str]:
        """Say what a snapshot would find here, restored as ``spec``. Raises HostNotReady."""
        output = await cx.run([find_binary(spec.argv[0], cx), "--version"], timeout=10)
        return requirements(spec, written_version(output.decode(errors="replace")))

    async def restore(self, spec: LaunchSpec, source: Path, cx: Context) -> QemuMachine:
        """Start QEMU with the memory and the devices of the snapshot in ``source``: its CPUs stand
        still and its card is unplugged. Raises what ``start`` raises, and IntegrityError.
        """
        with open_state(source) as state:

            async def begin(machine: QemuMachine) -> None:
                await machine.take_in(state)

            return await self._run(spec, INCOMING, begin, cx)

    async def _run(
        self,
        spec: LaunchSpec,
        more: tuple[str, ...],
        begin: Callable[[QemuMachine], Awaitable[None]],
        cx: Context,
        *,
        polite: bool = False,
    ) -> QemuMachine:
        """Start a QEMU, a ``polite`` one with the processor time that nobody else wants."""
        directory = spec.sockets["qmp"].parent
        for socket in spec.sockets.values():
            socket.unlink(missing_ok=True)
        binary = find_binary(spec.argv[0], cx)
        before = ("nice", "-n", "19") if polite else ()
        argv = (*before, binary, *spec.argv[1:], *more)
        process = await cx.spawn(argv, directory=directory)
        machine = QemuMachine(spec, process, None)
        try:
            machine = QemuMachine(spec, process, await self._connect(spec, process))
            await begin(machine)
        except BaseException:
            await machine.kill()
            await machine.close()
            raise
        return machine

    async def adopt(self, spec: LaunchSpec, process: ProcessId, cx: Context) -> QemuMachine:
        """Take over a VM that an earlier daemon started. One whose control socket does not answer
        can still be waited for and killed.
        """
        qmp = None
        try:
            qmp = await Qmp.connect(spec.sockets["qmp"])
        except (OSError, BangerError) as problem:
            cx.log.warning("no control socket of process %d: %s", process.pid, problem)
        return QemuMachine(spec, process, qmp)

    async def _connect(self, spec: LaunchSpec, process: ProcessId) -> Qmp:
        with suppress(TimeoutError):
            async with asyncio.timeout(START_DEADLINE):
                while process_alive(process):
                    with suppress(OSError, GuestFailed):
                        return await Qmp.connect(spec.sockets["qmp"])
                    await asyncio.sleep(_POLL)
        if process_alive(process):
            raise GuestFailed(
                "QEMU does not answer", cause=f"nothing on its socket in {START_DEADLINE:g} s"
            )
        raise explain_end(last_line(spec.sockets["qmp"].parent))


def _sockets(dirs: VmDirs) -> dict[str, Path]:
    return {name: dirs.runtime / f"{name}.sock" for name in ("qmp", "console", "helper")}
