"""A VM that QEMU runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from banger_core.api import (
    BangerError,
    Conflict,
    Fence,
    Forward,
    GuestFailed,
    IntegrityError,
    LaunchSpec,
    MachineExit,
    ProcessId,
    process_alive,
    process_status,
    signal_process,
    wait_process,
)
from banger_qemu.command import CONSOLE
from banger_qemu.gate import CARD, NETWORK, open_gate
from banger_qemu.lastwords import last_line
from banger_qemu.migrate import cancel, load
from banger_qemu.qmp import Qmp
from banger_qemu.snapshots import requirements, running_version, write_state
from banger_qemu.warm import save_waiting, wake

_LAST_WORDS = 1.0
_RETRY = 0.1
_LINE_PACE = 0.2
_CHUNK = 1 << 16


class QemuMachine:
    """Implements ``contracts.SavedMachine`` for one QEMU process, ours or an earlier daemon's."""

    def __init__(self, spec: LaunchSpec, process: ProcessId, qmp: Qmp | None) -> None:
        self._spec, self._process, self._qmp = spec, process, qmp
        self._console: asyncio.StreamWriter | None = None
        self._gate = asyncio.Lock()

    @property
    def process(self) -> ProcessId:
        """QEMU's process."""
        return self._process

    async def wait(self) -> MachineExit:
        """Return when QEMU has ended, with the reason it gave where we were connected."""
        await wait_process(self._process)
        reason = ""
        if (qmp := self._qmp) is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(qmp.closed(), _LAST_WORDS)
            reason = qmp.shutdown_reason
            await qmp.close()
        status = process_status(self._process)
        if status is not None and status < 0:
            reason = "killed"
        return MachineExit(status=status, reason=reason)

    async def console(self) -> AsyncIterator[bytes]:
        """Yield what the guest prints from now on, until QEMU ends. One reader at a time: QEMU
        keeps a second one waiting.
        """
        while process_alive(self._process):
            try:
                reader, writer = await asyncio.open_unix_connection(self._spec.sockets["console"])
            except OSError:
                await asyncio.sleep(_RETRY)
                continue
            self._console = writer
            try:
                with suppress(ConnectionError):
                    while data := await reader.read(_CHUNK):
                        yield data
            finally:
                self._console = None
                writer.close()

    async def stop(self, grace: float) -> None:
        """Have the guest's kernel write everything back, make its file systems read-only and
        power off; return when it did, or after ``grace`` seconds.

        The guest ignores ACPI's power button. Its kernel listens to the serial console: a break
        and a letter are a system request (Linux, admin-guide/sysrq.rst), which needs no program
        of the guest to answer.
        """
        with suppress(TimeoutError, BangerError, OSError):
            async with asyncio.timeout(grace), self._typing() as keyboard:
                for letter in b"suo":
                    await (await self._control()).execute("chardev-send-break", id=CONSOLE)
                    # Break and letter come by different ways, and nothing tells when the first
                    # has arrived
                    await asyncio.sleep(_LINE_PACE)
                    keyboard.write(bytes([letter]))
                    await keyboard.drain()
                    await asyncio.sleep(_LINE_PACE)
                await wait_process(self._process)

    async def kill(self) -> None:
        """End QEMU now, and return when it is gone."""
        signal_process(self._process, signal.SIGKILL)
        await wait_process(self._process)

    async def pause(self) -> None:
        """Stop the virtual CPUs."""
        await (await self._control()).execute("stop")

    async def resume(self) -> None:
        """Let the virtual CPUs go on; the guest's clock has stood still meanwhile."""
        control = await self._control()
        # One that was under way when a daemon died would stop them again at its end
        await cancel(control)
        await control.execute("cont")

    async def helper(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the guest's virtio port. Raises GuestFailed for a machine that was started
        without one, and OSError when QEMU is gone.
        """
        path = self._spec.sockets.get("helper")
        if path is None:
            raise GuestFailed(
                "this machine was started without a guest helper",
                cause="by an older banger",
                hints=["stop it and start it again"],
            )
        return await asyncio.open_unix_connection(path)

    async def add_forward(self, forward: Forward) -> None:
        """Have QEMU listen at the forward's host end. Raises Conflict when it cannot."""
        # Without an address of the guest it is the first one that QEMU would lease: the guest's
        rule = f"{_listener(forward)}-:{forward.guest_port}"
        if answer := await self._monitor(f"hostfwd_add net {rule}"):
            port = f"{forward.host_address}:{forward.host_port}"
            raise Conflict(
                f"{forward.protocol} port {port} cannot be published",
                cause=answer,
                hints=["ss -lntup"],
            )
        await self.open_gate()

    async def open_gate(self) -> None:
        """Connect the card to its user network, fenced as the VM is to be now. Idempotent."""
        facts = self._spec.data.get("fence")
        if facts is None:
            return
        async with self._gate:
            await open_gate(Fence(**facts), await self._control())

    async def remove_forward(self, forward: Forward) -> None:
        """Have QEMU stop listening there. Idempotent."""
        await self._monitor(f"hostfwd_remove net {_listener(forward)}")
        await self.open_gate()

    async def _monitor(self, line: str) -> str:
        """Run a command of QEMU's monitor for people: some have no other form."""
        control = await self._control()
        answer = await control.execute("human-monitor-command", **{"command-line": line})
        return str(answer).strip()

    async def snapshot(self, into: Path) -> None:
        """Write memory and devices into ``into``; see ``snapshots``. The machine stands still
        meanwhile, and goes on when it ran.
        """
        control = await self._control()
        running = await self._stand_still(control)
        try:
            await write_state(control, into)
        finally:
            if running:
                await self.resume()

    async def _stand_still(self, control: Qmp) -> bool:
        """Stop the CPUs; return whether they ran."""
        found = await control.execute("query-status")
        status = found.get("status") if isinstance(found, dict) else None
        if status == "postmigrate":
            # QEMU saves no machine twice in a row: in between its CPUs must have run, however short
            await self.resume()
        if status != "paused":
            await control.execute("stop")
        return status == "running"

    async def needs(self) -> Mapping[str, str]:
        """Return what must be equal where this machine is to go on."""
        return requirements(self._spec, await running_version(await self._control()))

    async def connect(self) -> None:
        """Plug the network card in, and open the gate behind it. Idempotent."""
        await self.open_gate()
        await self._plug(up=True)

    async def take_in(self, state: IO[bytes]) -> None:
        """Have a QEMU that waits for it go on where ``state`` was saved; it stands still and its
        card is unplugged. Raises IntegrityError with QEMU's last words.
        """
        control = await self._control()
        try:
            await load(control, state)
        except GuestFailed as problem:
            words = await self._last_words()
            raise IntegrityError(
                "QEMU does not take the snapshot", cause=words or problem.cause
            ) from problem
        # What was plugged in when it was saved is so again
        await self._plug(up=False)

    async def save_waiting(self, image: Path) -> None:
        """Save this machine, which is nobody's yet, into ``image``; it does not go on."""
        await save_waiting(await self._control(), self._spec.sockets["helper"], image)

    async def wake(self, image: Path) -> None:
        """Have a QEMU that waits for it become the machine in ``image``, and its guest go on."""
        try:
            await wake(await self._control(), self._spec.sockets["helper"], image)
        except GuestFailed as problem:
            words = await self._last_words()
            raise GuestFailed(problem.summary, cause=words or problem.cause) from problem

    async def _last_words(self) -> str:
        with suppress(TimeoutError):
            await asyncio.wait_for(wait_process(self._process), _LAST_WORDS)
        return last_line(self._spec.sockets["qmp"].parent)

    async def _plug(self, *, up: bool) -> None:
        if "-netdev" in self._spec.argv:
            name = CARD if self._spec.data.get("fence") else NETWORK
            await (await self._control()).execute("set_link", name=name, up=up)

    async def close(self) -> None:
        """Close the control connection: QEMU serves one at a time."""
        qmp, self._qmp = self._qmp, None
        if qmp is not None:
            await qmp.close()

    async def _control(self) -> Qmp:
        if self._qmp is None:
            try:
                self._qmp = await Qmp.connect(self._spec.sockets["qmp"])
            except OSError as problem:
                raise GuestFailed("QEMU cannot be controlled", cause=str(problem)) from problem
        return self._qmp

    @asynccontextmanager
    async def _typing(self) -> AsyncIterator[asyncio.StreamWriter]:
        """Lend the console's one connection, or make it when nobody reads the console."""
        if self._console is not None:
            yield self._console
            return
        _, writer = await asyncio.open_unix_connection(self._spec.sockets["console"])
        try:
            yield writer
        finally:
            writer.close()


def _listener(forward: Forward) -> str:
    return f"{forward.protocol}:{forward.host_address}:{forward.host_port}"
