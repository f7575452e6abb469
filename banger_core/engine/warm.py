"""Warm starts: VMs that begin as a machine which was saved before it belonged to anybody.

Never a reason to fail: whatever is wrong with a saved machine, it is removed and the VM boots. One
that is missing is made in the background, after the VM that would have used it is up.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.engine.failpoints import afailpoint, register
from banger_core.errors import BangerError
from banger_core.model import VmDirs, VmPlan
from banger_core.plan.names import make_id
from banger_core.store.warm import WarmItem, WarmShelf
from banger_core.threads import in_thread
from banger_core.warmcontract import WarmDriver

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

BEGUN = register("warm.after_intent", "a saved machine is announced, nothing of it is there")
SAVED = register("warm.after_save", "a machine is saved, and not yet to be found")
PUBLISHED = register("warm.after_publish", "a saved machine can be found, its maker is not gone")

ROOM = 1 << 30
"""Bytes that are left to others on the disk of the cache."""

log = logging.getLogger("banger.engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmth:
    """What one VM could begin as: ``image`` is where that is, None when it is not there."""

    name: str
    plan: VmPlan
    dirs: VmDirs
    accel: str
    image: Path | None


class WarmRoom:
    """The saved machines of one engine; only an engine that lasts ``makes`` any."""

    def __init__(self, engine: Engine, *, makes: bool) -> None:
        self._engine, self._makes = engine, makes
        self._shelf = WarmShelf(engine.paths.warm)
        self._given_up: set[str] = set()
        self._maker: asyncio.Task[None] | None = None

    async def find(self, plan: VmPlan, dirs: VmDirs, accel: str, *, cold: bool) -> Warmth | None:
        """Return what such a VM could begin as; None when it is to boot. Does not fail."""
        if cold or plan.cold or not self._engine.settings.vm.warm_start:
            return None
        try:
            driver = self._driver(plan)
            if driver is None:
                return None
            context = self._engine.context(plan.driver)
            key = await in_thread(driver.warm_key, plan, dirs, accel, context)
        except (BangerError, OSError) as problem:
            log.warning("%s is not started warm: %s", plan.name, said(problem))
            return None
        if key is None:
            return None
        name = f"{plan.driver}-{key.machine}-{key.tools}"
        image = await self._look(name)
        return Warmth(name=name, plan=plan, dirs=dirs, accel=accel, image=image)

    async def _look(self, name: str) -> Path | None:
        try:
            return await in_thread(self._shelf.find, name)
        except (BangerError, OSError) as problem:
            log.warning("a saved machine is removed: %s", said(problem))
            await in_thread(self._shelf.remove, name)
            return None

    async def give_up(self, warmth: Warmth, problem: BangerError, *, woken: bool = False) -> None:
        """A VM did not come up as that one: it goes. Where not even its guest has ``woken``, which
        is nobody's fault but its own, this engine makes no other in its place.
        """
        log.warning("a warm start of %s failed: %s", warmth.plan.name, said(problem))
        # One that was removed meanwhile may have been a good one
        if not woken and warmth.image is not None and warmth.image.exists():
            self._given_up.add(warmth.name)
        await in_thread(self._shelf.remove, warmth.name)

    def make_soon(self, warmth: Warmth) -> None:
        """Make what was not there, in the background, unless another one is being made."""
        busy = self._maker is not None and not self._maker.done()
        if self._makes and not busy and warmth.name not in self._given_up:
            self._maker = asyncio.create_task(self._make(warmth), name=f"save {warmth.name}")

    async def prune(self, *, dry_run: bool) -> list[WarmItem]:
        """Remove all saved machines, and return them; with ``dry_run`` only list them."""
        if dry_run:
            return await in_thread(self._shelf.items)
        await self.close()
        return await in_thread(self._shelf.clear)

    async def close(self) -> None:
        """Stop making one; nothing of it is left then."""
        maker, self._maker = self._maker, None
        if maker is not None:
            maker.cancel()
            await asyncio.wait([maker])

    async def _make(self, warmth: Warmth) -> None:
        owner = make_id()
        try:
            # Of several that missed it at once, one made it
            if await self._look(warmth.name) is None:
                await self._save(owner, warmth)
        except (BangerError, OSError) as problem:
            log.warning("no machine could be saved for warm starts: %s", said(problem))
            # A kernel of the VM's own may have gone with it meanwhile
            if warmth.dirs.kernel.exists():
                self._given_up.add(warmth.name)
        finally:
            try:
                await self._engine.effects.undo(owner)
            except BangerError as problem:
                log.warning("could not remove what is left of a saved machine: %s", problem)

    async def _save(self, owner: str, warmth: Warmth) -> None:
        engine, plan = self._engine, warmth.plan
        driver = self._driver(plan)
        made = await in_thread(self._shelf.begin)
        if driver is None or shutil.disk_usage(made.parent).free < ROOM:
            log.debug("no machine is saved: there is no room in %s", made.parent)
            return
        effects = engine.effects
        await effects.make_directory(owner, "directory", made)
        runtime = await effects.make_directory(owner, "runtime", engine.paths.vm_runtime(owner))
        await afailpoint(BEGUN)
        dirs = replace(warmth.dirs, state=made, runtime=runtime)
        context = engine.context(plan.driver)
        await effects.do(
            owner,
            "process",
            str(runtime),
            partial(driver.make_warm, plan, dirs, warmth.accel, made, context),
        )
        await afailpoint(SAVED)
        await in_thread(self._shelf.publish, made, warmth.name)
        await afailpoint(PUBLISHED)
        await in_thread(self._shelf.evict, engine.settings.vm.warm_starts_kept)

    def _driver(self, plan: VmPlan) -> WarmDriver | None:
        driver = self._engine.registry.vmm_drivers.load(plan.driver)
        return driver if isinstance(driver, WarmDriver) else None


def said(problem: BangerError | OSError) -> str:
    """Return a failure in one line of a log."""
    cause = problem.cause if isinstance(problem, BangerError) else ""
    return f"{problem}: {cause}" if cause else str(problem)
