"""An engine over the fakes, in the test's own process: machines come and go without a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from banger_core.config.paths import secure_dir
from banger_core.config.settings import load_settings
from banger_core.engine.engine import Engine
from banger_core.errors import BangerError
from banger_core.model import VmRequest
from banger_core.testing.fakes import CONFIG
from banger_core.testing.registry import registry_of

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.config.paths import Paths
    from banger_core.engine.operations import Operation
    from banger_core.model import Event, VmRecord
    from banger_core.testing.clock import Clock

CORE = ("banger_core.networks.plugin", "banger_core.testing.fakes")


class FakeEngine:
    """The real engine with ``plugins`` and the fakes, nothing else that is installed.

    ``config`` is added to the configuration that chooses the fakes. Raises AssertionError for a
    plugin that is broken.
    """

    def __init__(self, paths: Paths, clock: Clock, *plugins: object, config: str = "") -> None:
        self.paths, self.clock = paths, clock
        self.events: list[Event] = []
        self._engine: Engine | None = None
        self._registry = registry_of(*CORE, *plugins)
        for record in self._registry.plugins():
            if record.status != "ok":
                raise AssertionError(f"{record.label} is {record.status}: {record.error}")
        paths.ready()
        paths.settings_file.write_text(CONFIG + config)
        paths.settings_file.chmod(0o600)

    @property
    def engine(self) -> Engine:
        """The engine, while a story is played."""
        assert self._engine is not None, "there is an engine only inside play()"
        return self._engine

    def state_of(self, name: str) -> Path:
        """Return ``cx.state_dir`` of what is declared as ``name``."""
        return secure_dir(self.paths.state / "plugins" / name)

    def play(self, story: Callable[[FakeEngine], Awaitable[Any]]) -> Any:
        """Open the engine, run ``story`` with it, delete all VMs, close, and return what it gave.

        May be called again: that is how a daemon that starts anew finds things.
        """
        return asyncio.run(self._play(story))

    async def _play(self, story: Callable[[FakeEngine], Awaitable[Any]]) -> Any:
        settings = load_settings(self.paths, self._registry)
        self._engine = Engine(self.paths, settings, self._registry)
        with self._engine.events.subscribe() as subscription:

            async def listen() -> None:
                async for event in subscription:
                    self.events.append(event)

            listening = asyncio.create_task(listen())
            try:
                await self._engine.open()
                result = await story(self)
                for record in self._engine.records.vms():
                    await self.delete_vm(record.name)
                return result
            finally:
                await self._engine.close()
                subscription.close()
                await listening

    async def run_vm(self, name: str, image: str = "fake://small", **wishes: Any) -> VmRecord:
        """Create and start a VM; ``wishes`` are fields of ``VmRequest``. Raises BangerError."""
        request = VmRequest(image=image, name=name, **wishes)

        async def work(operation: Operation) -> None:
            await self.engine.machines.create(request, operation, start=True)

        await self.operate(f"running {name}", work)
        return self.engine.records.vm(name)

    async def stop_vm(self, name: str) -> VmRecord:
        """Stop a VM by force: fakes have nobody to log in."""

        async def work(operation: Operation) -> None:
            await self.engine.machines.stop(name, operation, force=True)

        await self.operate(f"stopping {name}", work)
        return self.engine.records.vm(name)

    async def start_vm(self, name: str) -> VmRecord:
        """Start a stopped VM. Raises BangerError."""

        async def work(operation: Operation) -> None:
            await self.engine.machines.start(name, operation)

        await self.operate(f"starting {name}", work)
        return self.engine.records.vm(name)

    async def delete_vm(self, name: str) -> None:
        """Delete a VM, running or not."""

        async def work(operation: Operation) -> None:
            await self.engine.machines.delete(name, operation, force=True)

        await self.operate(f"deleting {name}", work)

    async def operate(self, what: str, work: Callable[[Operation], Awaitable[Any]]) -> Any:
        """Run ``work`` as the daemon would, and return its result. Raises what it failed with."""
        with self.engine.events.subscribe() as subscription:
            operation = self.engine.operations.start(what, work)
            async for event in subscription:
                if event.operation != operation.id:
                    continue
                if event.kind == "operation.failed":
                    raise BangerError.from_dict(event.data["error"])
                if event.kind == "operation.done":
                    return event.data["result"]
        raise AssertionError("the events came to an end")
