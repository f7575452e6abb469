"""The fakes keep the contracts that real plugins keep."""

from __future__ import annotations

import socket
from pathlib import Path

from banger_core.contracts import SshPatch
from banger_core.errors import NotFound
from banger_core.model import Finding
from banger_core.store.content import write_atomic
from banger_core.testing.contracts import (
    DoctorCheckContract,
    EventSinkContract,
    GuestRuntimeContract,
    ImageSourceContract,
    KernelCatalogueContract,
    KernelProviderContract,
    NetworkAttachmentContract,
    ServiceContract,
    SshPolicyContract,
    VmmDriverContract,
)
from banger_core.testing.fakes.driver import FakeDriver
from banger_core.testing.fakes.guest import FakeRuntime
from banger_core.testing.fakes.images import FakeSource
from banger_core.testing.fakes.kernels import FakeCatalogue, FakeKernels
from banger_core.testing.fakes.warm import FakeWarmDriver


class TestFakeSource(ImageSourceContract):
    make = FakeSource
    ref = "fake://small"
    missing = "fake://missing"


class TestFakeKernels(KernelProviderContract):
    make = FakeKernels
    name = "fake-kernel"


class TestFakeCatalogue(KernelCatalogueContract):
    make = FakeCatalogue


class TestFakeRuntime(GuestRuntimeContract):
    make = FakeRuntime


class TestFakeDriver(VmmDriverContract):
    make = FakeDriver
    driver = "fake"
    golden = Path(__file__).with_name("fake_launch.json")
    boots = True
    forks = True

    def cut_off(self, machine, plan):
        with socket.socket() as client:
            return client.connect_ex(plan.net.ssh) != 0


class TestFakeWarmDriver(TestFakeDriver):
    make = FakeWarmDriver

    def dirs(self, paths):
        dirs = super().dirs(paths)
        write_atomic(dirs.initrd, b"an initramfs")
        return dirs


class Register:
    """An attachment that keeps a file per VM."""

    async def attach(self, vm, cx):
        (cx.state_dir / vm.name).write_text(vm.id)

    async def detach(self, vm, cx):
        (cx.state_dir / vm.name).unlink(missing_ok=True)


class TestRegister(NetworkAttachmentContract):
    make = Register

    def traces(self, cx):
        return {path.name: path.read_text() for path in cx.state_dir.iterdir()}


class TestStaticPolicy(SshPolicyContract):
    policy = staticmethod(
        lambda facts: SshPatch(set={"user": facts.vm_name}, lock=frozenset({"user"}))
    )


class RootCheck:
    async def check(self, cx):
        here = Path("/").is_dir()
        return [Finding(level="pass" if here else "fail", subject="root", message="/", why="odd")]

    async def fix(self, cx):
        return []


class TestRootCheck(DoctorCheckContract):
    make = RootCheck


class Counter:
    """A service that keeps a process going."""

    async def tend(self, cx):
        directory = cx.state_dir / "sleeper"
        if not directory.exists():
            directory.mkdir(mode=0o700)
            await cx.spawn(["sleep", "60"], directory=directory)

    async def answer(self, question, data, cx):
        if question != "count":
            raise NotFound("question", question, ["count"])
        return {"processes": 1, **data}


class TestCounter(ServiceContract):
    make = Counter
    questions = ("count",)


class Memory:
    async def handle(self, event, cx):
        with (cx.state_dir / "kinds").open("a") as file:
            file.write(f"{event.kind}\n")


class TestMemory(EventSinkContract):
    make = Memory
