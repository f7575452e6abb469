"""The VM driver (``contracts.VmmDriver``)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
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
    in_thread,
    process_alive,
)
from banger_qemu.command import command_line
from banger_qemu.lastwords import explain_end, last_words
from banger_qemu.machine import QemuMachine
from banger_qemu.machines import find_binary
from banger_qemu.probe import decide
from banger_qemu.qmp import Qmp
from banger_qemu.snapshots import open_state, requirements, written_version
from banger_qemu.tsc import host_tsc_khz

START_DEADLINE = 15.0
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
        sockets = {name: dirs.runtime / f"{name}.sock" for name in ("qmp", "console", "helper")}
        fence = Fence.around(plan.net)
        tsc_khz = self._tsc_khz if self._tsc_khz is not None else host_tsc_khz()
        return LaunchSpec(
            driver="qemu",
            argv=command_line(plan, dirs, accel, tsc_khz, sockets),
            sockets=sockets,
            data={"accel": accel, "fence": asdict(fence) if fence else None},
        )

    async def start(self, spec: LaunchSpec, cx: Context) -> QemuMachine:
        """Start QEMU and return when it answers on its control socket.

        Raises HostNotReady when it is not installed, Conflict when a port of the host is taken,
        and GuestFailed with its last words when it ends at once.
        """
        return await self._run(spec, (), QemuMachine.open_gate, cx)

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

            return await self._run(spec, ("-incoming", "defer"), begin, cx)

    async def _run(
        self,
        spec: LaunchSpec,
        more: tuple[str, ...],
        begin: Callable[[QemuMachine], Awaitable[None]],
        cx: Context,
    ) -> QemuMachine:
        directory = spec.sockets["qmp"].parent
        for socket in spec.sockets.values():
            socket.unlink(missing_ok=True)
        binary = find_binary(spec.argv[0], cx)
        process = await cx.spawn((binary, *spec.argv[1:], *more), directory=directory)
        machine = QemuMachine(spec, process, None)
        try:
            machine = QemuMachine(spec, process, await self._connect(spec, process))
            await begin(machine)
        except BaseException:
            await machine.kill()
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
        raise explain_end(last_words(spec.sockets["qmp"].parent / "vmm.log"))
