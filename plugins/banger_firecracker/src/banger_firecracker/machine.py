"""A VM that Firecracker runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from banger_core.api import (
    BangerError,
    Conflict,
    Forward,
    GuestFailed,
    LaunchSpec,
    MachineExit,
    ProcessId,
    process_alive,
    process_status,
    signal_process,
    wait_process,
)
from banger_firecracker import jail, vsock
from banger_firecracker.beside import Relay, listen
from banger_firecracker.host.options import END, METRICS
from banger_firecracker.metrics import last_metrics
from banger_firecracker.rest import Api
from banger_firecracker.snapshots import requirements, write_snapshot

_RETRY = 0.1
_CHUNK = 1 << 16
_RELAY_LIMIT = 3.0


class FirecrackerMachine:
    """Implements ``contracts.ForwardingMachine``, ``HelperMachine`` and ``SavedMachine`` for one
    Firecracker, ours or an earlier daemon's. ``relay`` is the process of the relay beside it,
    where that is known.
    """

    def __init__(
        self, spec: LaunchSpec, process: ProcessId, relay: ProcessId | None, version: str
    ) -> None:
        self._spec, self._process, self._relay = spec, process, relay
        self._version = version
        self._api = Api(spec.sockets["api"])
        self._beside = Relay(spec.sockets["control"])

    @property
    def process(self) -> ProcessId:
        """Firecracker's process."""
        return self._process

    async def wait(self) -> MachineExit:
        """Return when Firecracker and the relay beside it have ended, with what the guest's
        kernel said last.
        """
        await wait_process(self._process)
        await self._relay_gone()
        jail.clean(self._spec)
        status = process_status(self._process)
        try:
            reason = (self._runtime / END).read_text()
        except OSError:
            reason = "guest-reset" if status == 0 else ""
        if status is not None and status == -signal.SIGKILL:
            reason = "killed"
        return MachineExit(status=status, reason=reason or "Firecracker ended")

    async def console(self) -> AsyncIterator[bytes]:
        """Yield what the guest prints, and first what it printed while nobody listened (the end
        of it, when that was much). One reader at a time: a new one takes the place of another.
        """
        while process_alive(self._process):
            try:
                reader, writer = await asyncio.open_unix_connection(self._spec.sockets["console"])
            except OSError:
                await asyncio.sleep(_RETRY)
                continue
            try:
                with suppress(ConnectionError):
                    while data := await reader.read(_CHUNK):
                        yield data
            finally:
                writer.close()
            # Another reader took over, or the VM ends
            await asyncio.sleep(_RETRY)

    async def stop(self, grace: float) -> None:
        """Press Ctrl+Alt+Del: the guest's init shuts down and restarts, which ends Firecracker, or
        its kernel restarts at once. Returns when it did, or after ``grace`` seconds. Not on arm64,
        where Firecracker has no keyboard.
        """
        with suppress(TimeoutError, BangerError, OSError):
            async with asyncio.timeout(grace):
                await self._call("PUT", "/actions", {"action_type": "SendCtrlAltDel"})
                await wait_process(self._process)

    async def kill(self) -> None:
        """End Firecracker now, and return when it and the relay are gone."""
        signal_process(self._process, signal.SIGKILL)
        await wait_process(self._process)
        await self._relay_gone()
        jail.clean(self._spec)

    async def pause(self) -> None:
        """Stop the virtual CPUs."""
        await self._call("PATCH", "/vm", {"state": "Paused"})

    async def resume(self) -> None:
        """Let the virtual CPUs go on; the guest's clock has stood still meanwhile."""
        await self._call("PATCH", "/vm", {"state": "Resumed"})

    async def snapshot(self, into: Path) -> None:
        """Write memory and state of the machine into the directory ``into``, with a manifest; see
        ``snapshots``. The machine stands still meanwhile.
        """
        state = (await self._call("GET", "/", None) or {}).get("state")
        if state == "Running":
            await self.pause()
        try:
            await write_snapshot(self._api, self._spec, into, self._version)
        finally:
            if state == "Running":
                await self.resume()

    async def needs(self) -> Mapping[str, str]:
        """Return what must be equal where this machine is to go on."""
        return requirements(self._spec, self._version)

    async def connect(self) -> None:
        """Let the frames of a restored machine pass. Idempotent. Raises GuestFailed. Where its
        interface is not its own, whoever made that lets it go.
        """
        if self._spec.data["network"]:
            await self._beside.connect()

    async def metrics(self) -> dict[str, Any]:
        """Return what Firecracker counts (its docs/metrics.md), as of now."""
        path = self._runtime / METRICS
        return await last_metrics(path, lambda: self._call("PUT", "/actions", _FLUSH))

    async def helper(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the guest's helper by vsock. Raises OSError or GuestFailed."""
        return await vsock.connect_helper(self._spec.sockets["vsock"])

    async def add_forward(self, forward: Forward) -> None:
        """Publish a port. Raises Conflict when its host end is taken."""
        if not self._spec.data["network"]:
            raise Conflict(
                "the machine's network publishes no ports",
                cause="it was made without a network",
                hints=["banger vm show NAME"],
            )
        with listen(forward) as listener:
            await self._beside.add(forward, listener)

    async def remove_forward(self, forward: Forward) -> None:
        """Take a published port back. Idempotent."""
        await self._beside.remove(forward)

    async def close(self) -> None:
        """Nothing is held between calls."""

    @property
    def _runtime(self) -> Path:
        return self._spec.sockets["control"].parent

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            return await self._api.request(method, path, body)
        except OSError as problem:
            raise GuestFailed("Firecracker cannot be controlled", cause=str(problem)) from problem

    async def _relay_gone(self) -> None:
        if self._relay is None:
            return
        try:
            await asyncio.wait_for(wait_process(self._relay), _RELAY_LIMIT)
        except TimeoutError:
            signal_process(self._relay, signal.SIGKILL)
            await wait_process(self._relay)


_FLUSH = {"action_type": "FlushMetrics"}
