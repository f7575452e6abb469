"""A whole engine over the fakes, in this process, for what is done to images."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from banger_core.config.settings import load_settings
from banger_core.engine.engine import Engine
from banger_core.engine.events import EventBus
from banger_core.engine.operations import Operation
from banger_core.testing.fakes import CONFIG
from banger_core.testing.kernel_images import make_vmlinux
from banger_core.testing.registry import registry_of
from banger_core.testing.rootfs_images import make_ext4


class Bench:
    """Runs one thing after the other on an engine of its own, each on a fresh event loop."""

    def __init__(self, paths) -> None:
        self.paths = paths
        self.notices: list[str] = []

    def run(self, work: Callable[[Engine, Operation], Awaitable[Any]]) -> Any:
        return asyncio.run(self._run(work))

    async def _run(self, work: Callable[[Engine, Operation], Awaitable[Any]]) -> Any:
        registry = registry_of("banger_core.testing.fakes", "banger_core.networks.plugin")
        engine = Engine(self.paths, load_settings(self.paths, registry), registry)
        bus = EventBus()
        tell = bus.publish

        def publish(kind: str, **data: Any) -> Any:
            if kind == "notice":
                self.notices.append(data["text"])
            return tell(kind, **data)

        bus.publish = publish  # type: ignore[method-assign]
        await engine.open()
        try:
            return await work(engine, Operation(bus, "test"))
        finally:
            await engine.close()

    def images(self) -> dict[str, Any]:
        async def look(engine, _):
            return {image.name: image for image in engine.records.images()}

        return self.run(look)

    def leftovers(self) -> list[Path]:
        """Directories of images that no record knows, and files that nobody finished."""
        known = {image.directory for image in self.images().values()}
        state = self.paths.state
        return [
            *(path for path in state.glob("images/*") if path not in known),
            *state.rglob("*.partial"),
            *state.glob("incoming/*"),
        ]


@pytest.fixture
def bench(banger_paths) -> Bench:
    paths = banger_paths.ready()
    paths.config.mkdir(parents=True, exist_ok=True, mode=0o700)
    (paths.config / "config.toml").write_text(CONFIG)
    (paths.config / "config.toml").chmod(0o600)
    return Bench(paths)


@pytest.fixture
def mine(tmp_path) -> Path:
    """A directory of the user's own, with ``root.ext4`` and ``vmlinux``."""
    place = tmp_path / "mine"
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "mine").write_text("mine\n" * 1000)
    place.mkdir()
    make_ext4(place / "root.ext4", content=tree)
    (place / "vmlinux").write_bytes(make_vmlinux())
    return place


@pytest.fixture
def untouched(mine) -> Iterator[None]:
    """What the user has is the same afterwards, to the byte."""

    def look() -> dict[str, tuple[bytes, int]]:
        return {
            str(path): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in mine.rglob("*")
            if path.is_file()
        }

    before = look()
    yield
    assert look() == before
