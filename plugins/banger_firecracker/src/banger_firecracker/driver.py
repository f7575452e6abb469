"""The VM driver (``contracts.VmmDriver``)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
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
    process_alive,
)
from banger_firecracker import jail
from banger_firecracker.beside import Relay, listen
from banger_firecracker.config import CARD, VSOCK, api_calls, disk_files
from banger_firecracker.host.options import CONSOLE, CONTROL, END, LOG_FIFO, METRICS, Options
from banger_firecracker.lastwords import explain_end
from banger_firecracker.machine import FirecrackerMachine
from banger_firecracker.machines import find_firecracker, host_architecture
from banger_firecracker.network import describe, forwards_of, host_network
from banger_firecracker.probe import decide
from banger_firecracker.rest import Api
from banger_firecracker.snapshots import check_movable, check_snapshot, load, requirements
from banger_firecracker.versions import check_version, read_version, written

START_DEADLINE = 15.0
_POLL = 0.01

HOST_PROGRAM = ("-I", "-m", "banger_firecracker.host.launch")


class FirecrackerDriver:
    """Runs VMs with Firecracker."""

    async def accel(self, wanted: Accel, dirs: VmDirs, cx: Context) -> str:
        """Return ``kvm``. Raises HostNotReady where that does not boot a guest, or is not wanted:
        Firecracker cannot do without.
        """
        if wanted == "tcg":
            raise HostNotReady(
                "Firecracker cannot emulate a processor",
                cause="it runs guests by hardware virtualisation (KVM) only",
                hints=["--driver qemu --accel tcg"],
            )
        verdict = await decide(dirs.kernel, dirs.initrd, cx)
        if verdict.accel != "kvm":
            raise HostNotReady(
                "hardware virtualisation (KVM) does not work here, and Firecracker needs it",
                cause=verdict.reason,
                hints=["--driver qemu", "banger doctor"],
            )
        return "kvm"

    def launch(self, plan: VmPlan, dirs: VmDirs, accel: str) -> LaunchSpec:
        """Say how to start the VM: pure."""
        names = {"api": "api.sock", "vsock": VSOCK, "console": CONSOLE, "control": CONTROL}
        fence = Fence.around(plan.net)
        return LaunchSpec(
            driver="firecracker",
            argv=(
                *("firecracker", "--id", plan.id, "--api-sock", str(dirs.runtime / "api.sock")),
                *("--log-path", str(dirs.runtime / LOG_FIFO), "--level", "Warning"),
            ),
            sockets={name: dirs.runtime / file for name, file in names.items()},
            data={
                "id": plan.id,
                "accel": accel,
                "architecture": plan.kernel.architecture,
                "state": str(dirs.state),
                "calls": [list(call) for call in api_calls(plan, dirs)],
                "disks": disk_files(dirs),
                "network": describe(plan.net),
                "fence": asdict(fence) if fence else None,
            },
        )

    async def start(self, spec: LaunchSpec, cx: Context) -> FirecrackerMachine:
        """Start Firecracker, describe the machine to it and let it run.

        Raises HostNotReady for what the host lacks and for a Firecracker that is not safe,
        Conflict when a port of the host is taken, GuestFailed when Firecracker ends at once, and
        what ``faults`` makes of its refusals.
        """

        async def boot(api: Api) -> None:
            for method, path, body in jail.calls_of(spec):
                await api.request(method, path, body)
            await api.put("/actions", {"action_type": "InstanceStart"}, limit=START_DEADLINE)

        return await self._run(spec, await self._binary(spec, cx), boot, cx)

    async def offers(self, spec: LaunchSpec, cx: Context) -> Mapping[str, str]:
        """Say what a snapshot would find here, restored as ``spec``. Raises HostNotReady, also
        for a Firecracker that cannot connect a restored machine anew.
        """
        _, version = await self._binary(spec, cx)
        check_movable(spec, version)
        return requirements(spec, version)

    async def restore(self, spec: LaunchSpec, source: Path, cx: Context) -> FirecrackerMachine:
        """Load the machine whose snapshot is in ``source``, with the disks and the network of
        ``spec``; it stands still and its card is cut off. Raises what ``start`` and ``offers``
        raise, and IntegrityError for a snapshot that is not whole, or of another Firecracker,
        before anything starts.
        """
        _, version = found = await self._binary(spec, cx)
        check_movable(spec, version)
        check_snapshot(source, version, spec.data["architecture"])
        settings = jail.settings_of(cx.settings)
        begin = partial(load, spec=spec, source=source, settings=settings)
        return await self._run(spec, found, begin, cx, held=True)

    async def adopt(self, spec: LaunchSpec, process: ProcessId, cx: Context) -> FirecrackerMachine:
        """Take over a VM that an earlier daemon started. One whose relay is gone can still be
        waited for and killed.
        """
        relay = await Relay(spec.sockets["control"]).process()
        if relay is None:
            cx.log.warning("no relay beside process %d: no console, no ports", process.pid)
        version = ""
        with suppress(OSError, BangerError):
            version = (await Api(spec.sockets["api"]).get("/version"))["firecracker_version"]
        return FirecrackerMachine(spec, process, relay, version)

    async def _binary(self, spec: LaunchSpec, cx: Context) -> tuple[str, str]:
        """Return path and version of a Firecracker that can be used."""
        here, wanted = host_architecture(), spec.data["architecture"]
        if here != wanted:
            raise HostNotReady(
                f"Firecracker runs only guests for this processor ({here})",
                cause=f"the image is for {wanted}",
                hints=["--driver qemu"],
            )
        binary = find_firecracker(cx)
        version = await read_version(binary, cx)
        check_version(version, cx)
        return binary, written(version)

    async def _run(
        self,
        spec: LaunchSpec,
        found: tuple[str, str],
        begin: Callable[[Api], Awaitable[None]],
        cx: Context,
        *,
        held: bool = False,
    ) -> FirecrackerMachine:
        binary, version = found
        runtime = spec.sockets["control"].parent
        with ExitStack() as stack:
            # Before anything starts: a port that is taken must not cost a VM
            listeners = [
                (forward, stack.enter_context(listen(forward))) for forward in forwards_of(spec)
            ]
            for leftover in (*spec.sockets.values(), runtime / END, runtime / METRICS):
                leftover.unlink(missing_ok=True)
            options, command = self._prepare(spec, binary, cx, held=held)
            program = (sys.executable, *HOST_PROGRAM, options.to_text())
            process = await cx.spawn((*program, *command), directory=runtime)
            machine = FirecrackerMachine(spec, process, None, version)
            try:
                api = await self._connect(spec, process)
                beside = Relay(spec.sockets["control"])
                machine = FirecrackerMachine(spec, process, await beside.process(), version)
                for forward, listener in listeners:
                    await beside.add(forward, listener)
                await begin(api)
            except BaseException:
                await machine.kill()
                raise
            return machine

    def _prepare(
        self, spec: LaunchSpec, binary: str, cx: Context, *, held: bool
    ) -> tuple[Options, tuple[str, ...]]:
        settings = jail.settings_of(cx.settings)
        network = host_network(spec, cx, held=held)
        directory = str(spec.sockets["control"].parent)
        if settings is None:
            link_disks(spec, Path(directory))
            options = Options.for_user(directory, network)
            return options, (binary, *spec.argv[1:])
        jailer = jail.check_jailer(settings)
        jail.fill(spec, binary, settings)
        options = Options(
            directory=directory,
            fifos=str(jail.jail_root(spec, binary)),
            owner=settings["uid"],
            jailed=True,
            tap="" if network or settings["netns"] else card_of(spec),
            network=network,
        )
        return options, jail.command_line(spec, binary, jailer, settings)

    async def _connect(self, spec: LaunchSpec, process: ProcessId) -> Api:
        api = Api(spec.sockets["api"])
        with suppress(TimeoutError):
            async with asyncio.timeout(START_DEADLINE):
                while process_alive(process):
                    with suppress(OSError):
                        await api.get("/version")
                        return api
                    await asyncio.sleep(_POLL)
        if process_alive(process):
            raise GuestFailed(
                "Firecracker does not answer",
                cause=f"nothing on its socket in {START_DEADLINE:g} s",
            )
        raise await explain_end(spec.sockets["control"].parent)


def card_of(spec: LaunchSpec) -> str:
    """Return the host's end of the guest's card; empty when it has none."""
    return next((body["host_dev_name"] for _, path, body in spec.data["calls"] if path == CARD), "")


def link_disks(spec: LaunchSpec, directory: Path) -> None:
    """Give the disks their names in Firecracker's working directory."""
    for name, path in spec.data["disks"].items():
        link = directory / name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
