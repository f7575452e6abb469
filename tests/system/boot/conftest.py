"""Machines below the command line: guest runtime and QEMU driver, without daemon and database."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from banger_core.engine.process import spawn
from banger_core.engine.run import run
from banger_core.guest.hostkey import make_host_key
from banger_core.guest.initrd import build_initrd
from banger_core.guest.seed import SeedConfig, write_seed
from banger_core.model import (
    GUEST_SSH_PORT,
    Forward,
    GuestFiles,
    GuestPin,
    ImageConfig,
    ImagePin,
    KernelFiles,
    KernelPin,
    NetPlan,
    ProcessId,
    VmDirs,
    VmPlan,
)
from banger_debian.guest import DebianGuest
from banger_qemu.driver import QemuDriver
from banger_qemu.machine import QemuMachine

READY = b"@@ banger ready"
DEADLINE = 60.0


@dataclass(frozen=True)
class BootParts:
    """What every machine here is made of. ``debian`` is a minimal Debian without an SSH server
    and without an init."""

    kernel: KernelFiles
    guest: GuestFiles
    debian: Path


@pytest.fixture(scope="session")
def boot_parts(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> BootParts:
    """Kernel, guest programs and a Debian, as ``banger image pull`` made and verified them."""
    (image,) = (parts.state / "images").iterdir()
    cache = Path(parts.env["BANGER_CACHE_DIR"]) / "debian"
    cx = DriverContext(tmp_path_factory.mktemp("guest"), cache)

    async def guest() -> GuestFiles:
        return await DebianGuest().materialise(await DebianGuest().resolve("amd64", cx), cx)

    return BootParts(
        kernel=KernelFiles.in_directory(image / "kernel"),
        guest=asyncio.run(guest()),
        debian=image / "rootfs.ext4",
    )


@pytest.fixture(scope="session")
def initrd(boot_parts: BootParts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("initrd") / "initrd.cpio"
    build_initrd(boot_parts.guest, boot_parts.kernel, out)
    return out


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ssh") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@dataclass
class DriverContext:
    """The engine's own ``run`` and ``spawn`` behind the contract that plugins see."""

    state_dir: Path
    cache_dir: Path
    settings: dict[str, Any] = field(default_factory=dict)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("test"))

    def progress(self, what: str, done: int, total: int) -> None:
        pass

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60) -> bytes:
        return await run(argv, stdin=stdin, timeout=timeout)

    async def spawn(self, argv: Sequence[str], *, directory: Path) -> ProcessId:
        return await spawn(argv, directory=directory)


@dataclass
class Guest:
    """A running machine and how to reach it."""

    machine: QemuMachine
    plan: VmPlan
    dirs: VmDirs
    identity: Path
    known_hosts: Path
    console: bytearray
    reader: asyncio.Task[None] | None = None

    async def forget(self) -> None:
        """Let go of the machine, as a daemon that dies does."""
        assert self.reader is not None
        assert self.machine._qmp is not None
        self.reader.cancel()
        await asyncio.wait([self.reader])
        await self.machine._qmp.close()

    def ssh_argv(self, *options: str) -> list[str]:
        host, port = self.plan.net.ssh
        return ["ssh", "-F", "/dev/null", "-p", str(port), *self.options, *options, f"root@{host}"]

    @property
    def options(self) -> list[str]:
        settings = {
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": self.plan.name,
            "ConnectTimeout": "20",
        }
        pairs = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        return ["-i", str(self.identity), *pairs]

    def ssh(
        self, command: str, *options: str, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, in the caller's thread."""
        return subprocess.run(
            [*self.ssh_argv(*options), command],
            input=stdin,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )

    async def run(self, command: str, *options: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Run a command; returns its status, stdout and stderr."""
        done = await asyncio.to_thread(self.ssh, command, *options, stdin=stdin)
        return done.returncode, done.stdout.decode(), done.stderr.decode()


BootGuest = Callable[..., AbstractAsyncContextManager[Guest]]


@pytest.fixture
def workplace() -> Iterator[Path]:
    """A short path, because Unix sockets lie below."""
    path = Path(tempfile.mkdtemp(prefix="bb-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def cx(workplace: Path) -> DriverContext:
    for name in ("plugin-state", "plugin-cache"):
        (workplace / name).mkdir(mode=0o700)
    return DriverContext(workplace / "plugin-state", workplace / "plugin-cache")


@pytest.fixture
def boot(
    boot_parts: BootParts, initrd: Path, identity: Path, workplace: Path, cx: DriverContext
) -> BootGuest:
    """Boot a copy of a disk and wait until the guest says that it is ready."""

    @asynccontextmanager
    async def start(
        disk: Path, *, wait: bool = True, net: NetPlan | None = None, **seed: Any
    ) -> AsyncIterator[Guest]:
        plan, dirs = make_plan(), prepare(workplace, boot_parts, initrd, disk)
        plan = replace(plan, net=net or plan.net)
        private, public = await make_host_key(run, workplace)
        known_hosts = workplace / "known_hosts"
        known_hosts.write_text(f"{plan.name} {public}\n")
        config = SeedConfig(
            hostname=plan.name,
            host_key=private,
            authorized_keys=(identity.with_suffix(".pub").read_text(),),
            epoch=time.time(),
            address=plan.net.guest_address,
            gateway=plan.net.gateway,
            nameserver=plan.net.nameserver,
        )
        write_seed(dirs.seed, replace(config, **seed))
        driver = QemuDriver()
        spec = driver.launch(plan, dirs, await driver.accel("tcg", dirs, cx))
        machine = await driver.start(spec, cx)
        guest = Guest(machine, plan, dirs, identity, known_hosts, bytearray())
        ready = asyncio.Event()
        guest.reader = asyncio.create_task(follow(guest, ready))
        try:
            if wait:
                async with asyncio.timeout(DEADLINE):
                    await ready.wait()
            yield guest
        finally:
            guest.reader.cancel()
            await guest.machine.kill()
            await guest.machine.wait()

    return start


async def follow(guest: Guest, ready: asyncio.Event) -> None:
    async for data in guest.machine.console():
        guest.console += data
        if READY in guest.console:
            ready.set()


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def make_plan() -> VmPlan:
    net = NetPlan(
        network="user",
        kind="user",
        mac="52:54:00:12:34:56",
        host_address="127.77.0.2",
        guest_address="10.0.2.15/24",
        gateway="10.0.2.2",
        nameserver="10.0.2.3",
        outbound=False,
        forwards=(
            Forward(
                host_address="127.77.0.2",
                host_port=_free_port("127.77.0.2"),
                guest_port=GUEST_SSH_PORT,
            ),
        ),
    )
    return VmPlan(
        id="0123456789ab",
        name="tester",
        image=ImagePin(source="t", ref="t", name="t", digest="t", architecture="amd64"),
        kernel=KernelPin(
            provider="t", name="t", version="1", distro="t", architecture="amd64", digest="t"
        ),
        guest=GuestPin(runtime="t", digest="t", architecture="amd64"),
        vcpu=1,
        memory=256 << 20,
        disk_size=1 << 30,
        net=net,
        driver="qemu",
        disk_format="raw",
        accel="tcg",
        ssh={},
    )


def prepare(place: Path, parts: BootParts, initrd: Path, disk: Path) -> VmDirs:
    runtime = place / "run"
    runtime.mkdir(mode=0o700)
    root = place / "root.raw"
    subprocess.run(["cp", "--sparse=always", disk, root], check=True)
    return VmDirs(
        state=place,
        runtime=runtime,
        kernel=parts.kernel.vmlinux,
        initrd=initrd,
        root_disk=root,
        seed=place / "seed.img",
    )


@pytest.fixture
def small_disk(workplace: Path) -> Callable[[dict[str, Path | str]], Path]:
    """Make an ext4 disk of a few files: a path of the host to copy, or the target of a link."""

    def make(files: dict[str, Path | str]) -> Path:
        tree = workplace / "tree"
        tree.mkdir()
        for name, content in files.items():
            place = tree / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, place)
                place.chmod(0o755)
            else:
                place.symlink_to(content)
        disk = workplace / "small.ext4"
        subprocess.run(
            ["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, disk, "16M"],
            check=True,
        )
        return disk

    return make


Check = Callable[[], Awaitable[bool]]


async def settle(check: Check, seconds: float = DEADLINE) -> None:
    """Wait until ``check`` holds."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 - what is waited for happens in a guest
            await asyncio.sleep(0.1)


@pytest.fixture
def eventually() -> Callable[[Check], Awaitable[None]]:
    return settle


@pytest.fixture
def image_config() -> ImageConfig:
    return ImageConfig(
        env=('GREETING=it\'s "me"\n$HOME', "PATH=/odd:/usr/bin:/bin"), working_dir="/usr"
    )
