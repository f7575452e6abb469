"""The driver: how machines are run with one virtual machine monitor, here Cloud Hypervisor."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from banger_core.api import (
    Accel,
    BangerError,
    Context,
    HostNotReady,
    LaunchSpec,
    MachineExit,
    ProcessId,
    VmDirs,
    VmPlan,
    process_status,
    signal_process,
    wait_process,
)

PROGRAM = "cloud-hypervisor"


class FrozenDriver:
    """``launch`` says how, ``start`` does it."""

    async def accel(self, wanted: Accel, dirs: VmDirs, cx: Context) -> str:
        """Decide how machines run: this VMM knows KVM only. Raises HostNotReady without it."""
        if wanted == "tcg" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise HostNotReady(
                f"{PROGRAM} needs KVM",
                cause="it does not emulate processors" if wanted == "tcg" else "no /dev/kvm to use",
                hints=["--driver qemu"],
            )
        return "kvm"

    def launch(self, plan: VmPlan, dirs: VmDirs, accel: str) -> LaunchSpec:
        """Say how to start the VM. Pure: nothing is looked at and nothing is written."""
        console = dirs.runtime / "console.sock"
        argv = (
            *(PROGRAM, "--cpus", f"boot={plan.vcpu}", "--memory", f"size={plan.memory}"),
            *("--kernel", str(dirs.kernel), "--initramfs", str(dirs.initrd)),
            *("--disk", f"path={dirs.root_disk}", f"path={dirs.seed},readonly=on"),
            *("--net", f"tap={plan.net.tap},mac={plan.net.mac}"),
            *("--serial", f"socket={console}", "--console", "off"),
        )
        return LaunchSpec(
            driver="frozen",
            argv=argv,
            sockets={"console": console},
            data={"directory": str(dirs.runtime)},
        )

    async def start(self, spec: LaunchSpec, cx: Context) -> FrozenMachine:
        """Start it and return when the VMM runs."""
        process = await cx.spawn(spec.argv, directory=Path(spec.data["directory"]))
        return FrozenMachine(spec, process)

    async def adopt(self, spec: LaunchSpec, process: ProcessId, cx: Context) -> FrozenMachine:
        """Take over a VM that an earlier daemon started."""
        return FrozenMachine(spec, process)


class FrozenMachine:
    """One VM that runs."""

    def __init__(self, spec: LaunchSpec, process: ProcessId) -> None:
        self._spec, self._process = spec, process

    @property
    def process(self) -> ProcessId:
        """The VMM's process."""
        return self._process

    async def wait(self) -> MachineExit:
        """Return when the VMM has ended."""
        await wait_process(self._process)
        status = process_status(self._process)
        return MachineExit(status=status, reason="guest-shutdown" if status == 0 else "killed")

    async def console(self) -> AsyncIterator[bytes]:
        """The serial console from now on, until the VM ends."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._spec.sockets["console"])
        except OSError:
            return
        try:
            while data := await reader.read(4096):
                yield data
        finally:
            writer.close()

    async def stop(self, grace: float) -> None:
        """Ask the guest to power off."""
        signal_process(self._process, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await wait_process(self._process)
        except TimeoutError:
            return

    async def kill(self) -> None:
        """End the VMM now."""
        signal_process(self._process, signal.SIGKILL)
        await wait_process(self._process)

    async def pause(self) -> None:
        """Stop the virtual CPUs."""
        raise BangerError("this driver cannot pause machines")

    async def resume(self) -> None:
        """Let the virtual CPUs go on."""
        raise BangerError("this driver cannot resume machines")

    async def snapshot(self, into: Path) -> None:
        """Write memory and device state."""
        raise BangerError("this driver cannot write snapshots")
