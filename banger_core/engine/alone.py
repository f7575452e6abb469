"""Engines without a daemon: one run, one machine, a state of its own that ends with it.

A run's state lies in ``<state>/alone/ID`` and its sockets in ``<runtime>/a-ID``. Whoever runs holds
the lock on ``<state>/alone/ID/lock``: a state that nobody holds is what a crash left, and the next
run or daemon removes it with everything that it still has on the host. Images are borrowed from the
main state by hard links, so that deleting one there takes nothing from a machine that runs here.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.config.paths import Paths, check_socket_room, secure_dir
from banger_core.engine.engine import Engine
from banger_core.engine.operations import Operation, in_thread
from banger_core.engine.trees import remove_tree
from banger_core.errors import BangerError, HostNotReady
from banger_core.model import ImageRecord
from banger_core.plan.choose import Chooser
from banger_core.store.database import Database
from banger_core.store.locks import FileLock
from banger_core.store.records import Records

if TYPE_CHECKING:
    from banger_core.config.settings import Settings
    from banger_core.plugins.registry import Registry

_TRIES = 10

log = logging.getLogger("banger.engine")


@dataclass(frozen=True, slots=True)
class AlonePaths(Paths):
    """The places of one run. Settings, downloads, kernels and what plugins keep are ``home``'s."""

    home: Paths

    @classmethod
    def of(cls, home: Paths, name: str) -> AlonePaths:
        """The places of the run ``name``."""
        return cls(
            config=home.config,
            state=runs(home) / name,
            cache=home.cache,
            runtime=home.runtime / f"a-{name}",
            home=home,
        )

    @property
    def kernels(self) -> Path:
        """The on-disk kernel catalogue, which is everybody's."""
        return self.home.kernels

    def plugin_state(self, plugin: str) -> Path:
        """What the plugin ``plugin`` keeps, for every run and the daemon."""
        return self.home.plugin_state(plugin)

    @property
    def lock(self) -> Path:
        """Whoever holds a lock on this file is the run."""
        return self.state / "lock"


def runs(home: Paths) -> Path:
    """Where the states of runs lie."""
    return home.state / "alone"


@contextmanager
def state_of_its_own(home: Paths) -> Iterator[AlonePaths]:
    """Make the places of a new run, and remove them at the end. Raises HostNotReady."""
    paths, lock = _begin(home)
    with lock:
        try:
            yield paths
        finally:
            remove_tree(paths.runtime)
            remove_tree(paths.state)


def _begin(home: Paths) -> tuple[AlonePaths, FileLock]:
    for _ in range(_TRIES):
        paths = AlonePaths.of(home, secrets.token_hex(4))
        check_socket_room(paths.runtime)
        secure_dir(paths.state)
        lock = FileLock(paths.lock)
        try:
            # Somebody who sweeps may have come between the two, and remove it
            if lock.try_acquire():
                secure_dir(paths.runtime)
                return paths, lock
        except FileNotFoundError:
            continue
    raise HostNotReady(
        "no state for this run could be made",
        cause=f"other runs removed it {_TRIES} times",
        hints=[f"ls -l {runs(home)}"],
    )


async def sweep_runs(home: Paths, settings: Settings, registry: Registry) -> None:
    """End and remove what runs that died have left: machines, networks, files."""
    found = runs(home)
    for state in sorted(found.iterdir()) if found.is_dir() else []:
        paths = AlonePaths.of(home, state.name)
        lock = FileLock(paths.lock)
        try:
            if not state.is_dir() or not lock.try_acquire():
                continue
            with lock:
                await _end_run(paths, settings, registry)
        except FileNotFoundError:
            continue
        except BangerError as problem:
            log.warning("could not remove what the run %s left: %s", state.name, problem)


async def _end_run(paths: AlonePaths, settings: Settings, registry: Registry) -> None:
    engine = Engine(paths, settings, registry, lasts=False)
    try:
        await drop_all(engine)
    finally:
        await engine.close()
    remove_tree(paths.runtime)
    remove_tree(paths.state)


async def drop_all(engine: Engine) -> None:
    """Undo whatever ``engine`` has made on the host."""
    for record in engine.records.vms():
        await engine.machines.drop(record)
    for owner in {intent.vm_id for intent in engine.intents.all()}:
        await engine.effects.undo(owner)


async def borrow_image(engine: Engine, home: Paths, wanted: str, operation: Operation) -> None:
    """See that ``wanted`` is an image of ``engine``, as it is in the main state.

    One that is not there is pulled there, so that the next run finds it. While a daemon has the
    main state to itself, nothing is done: creating a machine will pull the image for this run.
    """
    if await _borrow(engine, home, wanted, operation):
        return
    secure_dir(runs(home))
    # Of several runs that want one image at once, one pulls it
    async with FileLock(runs(home) / "pull.lock"):
        if await _borrow(engine, home, wanted, operation):
            return
        state = FileLock(home.daemon_lock)
        if not state.try_acquire():
            operation.notice(f"{wanted} is not here, and is pulled for this run alone")
            operation.notice(f"keep it for the next one with: banger image pull {wanted}")
            return
        with state:
            await _pull(engine, home, wanted, operation)
        await _borrow(engine, home, wanted, operation)


async def _pull(engine: Engine, home: Paths, wanted: str, operation: Operation) -> None:
    keeper = Engine(home, engine.settings, engine.registry, lasts=False)
    try:
        await keeper.images.pull(wanted, operation)
    finally:
        await keeper.close()


async def _borrow(engine: Engine, home: Paths, wanted: str, operation: Operation) -> bool:
    image = _look(engine, home, wanted)
    if image is None:
        return False
    directory = engine.paths.images / image.id
    owner = f"image-{image.id}"
    await engine.effects.make_directory(owner, "directory", directory)
    try:
        await in_thread(operation, lambda: _link(image.directory, directory))
    except FileNotFoundError:
        # Deleted meanwhile
        await engine.effects.undo(owner)
        return False
    engine.records.add_image(replace(image, directory=directory))
    return True


def _look(engine: Engine, home: Paths, wanted: str) -> ImageRecord | None:
    if not home.database.exists():
        return None
    with Database.open(home.database) as database:
        chooser = Chooser(engine.registry, engine.settings, Records(database), engine.context)
        return chooser.local_image(wanted)


def _link(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True)
    except shutil.Error as problem:
        # It gathers what happened to each file; here one file that has gone is the whole story
        raise FileNotFoundError(str(problem)) from problem
