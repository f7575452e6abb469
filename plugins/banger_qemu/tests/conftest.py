from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from banger_core.engine.process import spawn
from banger_core.engine.run import run
from banger_core.model import (
    Forward,
    GuestPin,
    ImagePin,
    KernelPin,
    NetPlan,
    VmDirs,
    VmPlan,
)


@dataclass
class FakeContext:
    """The contract that plugins see, on the engine's own ``run`` and ``spawn``."""

    state_dir: Path
    cache_dir: Path = Path()
    settings: dict[str, Any] = field(default_factory=dict)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("test"))
    calls: list[tuple[str, ...]] = field(default_factory=list)

    async def run(self, argv, *, stdin=b"", timeout=60.0):
        self.calls.append(tuple(argv))
        return await run(argv, stdin=stdin, timeout=timeout)

    async def spawn(self, argv, *, directory):
        self.calls.append(tuple(argv))
        return await spawn(argv, directory=directory)


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path, because Unix sockets lie below."""
    path = Path(tempfile.mkdtemp(prefix="bq-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def cx(place: Path) -> FakeContext:
    (place / "plugin").mkdir(mode=0o700)
    # The most that can be set is too little for a test
    return FakeContext(place / "plugin", settings={"probe_deadline": 60.0})


@pytest.fixture
def dirs(place: Path) -> VmDirs:
    (place / "run").mkdir(mode=0o700)
    for name in ("vmlinux", "initrd.cpio", "root.qcow2", "seed.img"):
        (place / name).write_bytes(name.encode())
    return VmDirs(
        state=place,
        runtime=place / "run",
        kernel=place / "vmlinux",
        initrd=place / "initrd.cpio",
        root_disk=place / "root.qcow2",
        seed=place / "seed.img",
    )


@pytest.fixture
def make_plan() -> Callable[..., VmPlan]:
    def make(**changes: Any) -> VmPlan:
        net = {
            "network": "user",
            "kind": "user",
            "mac": "52:54:00:aa:bb:cc",
            "guest_address": "10.0.2.15/24",
            "gateway": "10.0.2.2",
            "nameserver": "10.0.2.3",
            "forwards": (
                Forward(host_address="127.1.2.3", host_port=1022, guest_port=1022),
                Forward(host_address="127.1.2.3", host_port=5353, guest_port=53, protocol="udp"),
            ),
            **changes.pop("net", {}),
        }
        architecture = changes.pop("architecture", "amd64")
        return VmPlan(
            **{
                "id": "0123456789ab",
                "name": "web",
                "image": ImagePin(
                    source="s", ref="r", name="n", digest="d", architecture=architecture
                ),
                "kernel": KernelPin(
                    provider="p",
                    name="n",
                    version="6.1",
                    distro="debian",
                    architecture=architecture,
                    digest="d",
                ),
                "guest": GuestPin(runtime="r", digest="d", architecture=architecture),
                "vcpu": 2,
                "memory": 512 << 20,
                "disk_size": 1 << 30,
                "net": NetPlan(**net),
                "driver": "qemu",
                "disk_format": "qcow2",
                "accel": "auto",
                "ssh": {},
                **changes,
            }
        )

    return make


@pytest.fixture
def fake_qemu(place: Path) -> Callable[[str], Path]:
    """Make a program that stands in for QEMU, from shell lines."""

    def make(script: str) -> Path:
        path = place / "qemu-fake"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


class QmpServer:
    """Speaks QEMU's side of the protocol; ``answers`` maps a command to what it gives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Any] = {}
        self.seen: list[dict[str, Any]] = []
        self.clients: list[asyncio.StreamWriter] = []
        self.greeting = b'{"QMP": {"version": {}, "capabilities": []}}\n'

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for client in self.clients:
            client.close()
        await self.server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer)
        writer.write(self.greeting)
        while line := await reader.readline():
            request = json.loads(line)
            self.seen.append(request)
            answer = self.answers.get(request["execute"], {"return": {}})
            if answer is None:
                continue
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                self.send({**answer, "id": request["id"]})

    def send(self, message: dict[str, Any]) -> None:
        self.clients[-1].write(json.dumps(message).encode() + b"\n")

    def hang_up(self) -> None:
        self.clients[-1].close()


@pytest.fixture
def qmp_server(place: Path) -> QmpServer:
    return QmpServer(place / "qmp.sock")
