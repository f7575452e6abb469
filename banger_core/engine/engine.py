"""The engine: one per state directory, owned by the daemon; everything else hangs on it."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from banger_core.config.paths import Paths, secure_dir
from banger_core.config.settings import Settings
from banger_core.engine.console import ConsoleRing
from banger_core.engine.context import PluginContext
from banger_core.engine.effects import Effects
from banger_core.engine.events import EventBus
from banger_core.engine.image_build import ImageBuilder
from banger_core.engine.image_import import Importer
from banger_core.engine.image_register import Registrar
from banger_core.engine.images import ImageStore
from banger_core.engine.kernels import KernelShelf
from banger_core.engine.machines import MachineRoom
from banger_core.engine.operations import Operation, Operations
from banger_core.engine.reconcile import Reconciler
from banger_core.engine.run import run
from banger_core.engine.services import Services
from banger_core.engine.sinks import Sinks
from banger_core.engine.ssh import identity, run_in_guest
from banger_core.engine.ssh_identity import identity_path
from banger_core.engine.ssh_include import write_include
from banger_core.engine.ssh_masters import Masters
from banger_core.engine.ssh_room import SshRoom
from banger_core.engine.warm import WarmRoom
from banger_core.errors import BangerError
from banger_core.model import SshTarget, VmRecord
from banger_core.plan.choose import Chooser
from banger_core.plugins.registry import Registry
from banger_core.store.content import write_atomic
from banger_core.store.database import Database
from banger_core.store.intents import Intents
from banger_core.store.records import Records
from banger_core.store.snapshots import Snapshots

log = logging.getLogger("banger.engine")


class Engine:
    """Holds the rooms together. Used on one event loop. ``lasts`` says of the daemon's that it goes
    on after this work: only that one tends services, and makes what later VMs begin as.
    """

    def __init__(
        self, paths: Paths, settings: Settings, registry: Registry, *, lasts: bool = True
    ) -> None:
        self.paths, self.settings, self.registry = paths, settings, registry
        self._database = Database.open(paths.database)
        self.records = Records(self._database)
        self.intents = Intents(self._database)
        self.snapshots = Snapshots(self._database)
        self.events = EventBus()
        self.operations = Operations(self.events)
        self.effects = Effects(self)
        self.kernels = KernelShelf(self)
        self.images = ImageStore(self)
        self.registrar = Registrar(self)
        self.importer = Importer(self)
        self.image_builder = ImageBuilder(self)
        self.machines = MachineRoom(self)
        self.warm = WarmRoom(self, makes=lasts)
        self.ssh = SshRoom(self)
        self.masters = Masters(self)
        self.services = Services(self, idle=not lasts)
        self._reconciler = Reconciler(self)
        self._sinks = Sinks(self)
        self._consoles: dict[str, ConsoleRing] = {}
        self._identity = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Settle what an earlier daemon left, adopt its VMs, and start looking after them."""
        self._sinks.open()
        self._offer_to_ssh()
        await self._reconciler.at_start()
        await self._reconciler.expire()
        await self.services.tend()
        self._timer = asyncio.create_task(self._reconciler.on_timer(), name="reconcile")

    async def close(self) -> None:
        """Stop all operations (they undo their work) and let go of the VMs, which go on."""
        if self._timer is not None:
            self._timer.cancel()
        await self.operations.close()
        await self.warm.close()
        await self.machines.close()
        await self.masters.close()
        await self._sinks.close()
        self._database.close()

    def context(self, plugin: str, operation: Operation | None = None) -> PluginContext:
        """The context for calls into the implementation named ``plugin``."""
        return PluginContext(plugin, self.paths, self.settings.plugin(plugin), operation)

    def chooser(self, operation: Operation | None = None) -> Chooser:
        """Chooses images, kernels and guest runtimes on behalf of ``operation``."""
        return Chooser(
            self.registry,
            self.settings,
            self.records,
            lambda plugin: self.context(plugin, operation),
        )

    # --- SSH ---------------------------------------------------------------------------------

    async def identity(self) -> Path:
        """Return the private key: the configured one, or one made on first use."""
        async with self._identity:
            return await identity(self.paths, self.settings, self.run)

    def ssh_target(self, record: VmRecord) -> SshTarget:
        """How to reach ``record`` with OpenSSH."""
        return self.ssh.target(record)

    def _offer_to_ssh(self) -> None:
        """Write what a user's own configuration of ssh may include."""
        try:
            write_include(self.paths, identity_path(self.paths, self.settings))
        except BangerError as problem:
            log.warning("plain ssh cannot reach VMs: %s: %s", problem.summary, problem.cause)

    async def run_in_guest(self, record: VmRecord, command: str, *, timeout: float) -> bytes:
        """Run a command in a guest over SSH and return its stdout."""
        return await run_in_guest(self.ssh_target(record), command, self.run, timeout)

    # --- small services ----------------------------------------------------------------------

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> bytes:
        """Run a host program to its end."""
        return await run(argv, stdin=stdin, timeout=timeout)

    def write_private(self, path: Path, data: bytes) -> None:
        """Write a file that only this user can read, whole or not at all."""
        write_atomic(path, data)

    @contextmanager
    def scratch(self, purpose: str) -> Iterator[Path]:
        """A private directory on the disk of the state, for as long as the block lasts."""
        shelf = secure_dir(self.paths.state / "incoming")
        with tempfile.TemporaryDirectory(dir=shelf, prefix=f"{purpose}-") as scratch:
            yield Path(scratch)

    def console(self, vm_id: str) -> ConsoleRing:
        """What the serial console of a VM said, bounded."""
        ring = self._consoles.get(vm_id)
        if ring is None:
            # Where there is no such VM any more no directory is made for it
            ring = ConsoleRing(self.paths.vm_state(vm_id) / "console.log")
            self._consoles[vm_id] = ring
        return ring

    def close_console(self, vm_id: str) -> None:
        """Let go of the console of a VM that is no more; whoever follows it sees its end."""
        if ring := self._consoles.pop(vm_id, None):
            ring.close()
