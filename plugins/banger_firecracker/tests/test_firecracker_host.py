"""The parts of the relay, and what the daemon says to it, without a machine."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from banger_core.api import GuestFailed, HostNotReady, remembered_verdict
from banger_core.engine import kvm as kvm_module
from banger_firecracker import vsock
from banger_firecracker.host import console as console_module
from banger_firecracker.host import notes
from banger_firecracker.host.console import Console
from banger_firecracker.host.notes import End, LastLine, Log
from banger_firecracker.host.options import Network, Options


def test_options_survive_the_command_line():
    network = Network(address="10.0.2.1", netmask="255.255.255.0", guest="10.0.2.15", fence="00")
    for each in (network, None):
        options = Options(directory="/run/x", fifos="/run/x", owner=7, jailed=True, network=each)
        assert Options.from_text(options.to_text()) == options


class Screen:
    """A console whose guest is the test."""

    def __init__(self, path):
        self.path, self.heard = path, []

    async def __aenter__(self):
        printing, self.screen = os.pipe()
        self.keyboard, typing = os.pipe()
        os.set_blocking(self.keyboard, False)
        self.handles = [printing, self.keyboard, typing]
        self.console = Console(printing, typing, self.heard.append)
        self.server = await asyncio.start_unix_server(self.console.serve, self.path)
        return self

    async def __aexit__(self, *_):
        self.server.close()
        if self.screen is not None:
            self.end()
            await self.console.ended.wait()
        await self.console.finish()
        for handle in self.handles:
            os.close(handle)

    def end(self):
        os.close(self.screen)
        self.screen = None

    async def say(self, data):
        """Returns when the console has heard it."""
        before = sum(map(len, self.heard))
        for start in range(0, len(data), 4096):
            os.write(self.screen, data[start : start + 4096])
            while sum(map(len, self.heard)) < before + min(start + 4096, len(data)):  # noqa: ASYNC110
                await asyncio.sleep(0)


def test_what_nobody_heard_is_kept_bounded_and_given_once(banger_paths, monkeypatch):
    monkeypatch.setattr(console_module, "BACKLOG", 10_000)

    async def run():
        async with Screen(banger_paths.runtime / "c") as screen:
            await screen.say(b"old" + b"x" * 50_000 + b"new")
            assert screen.console.unheard().endswith(b"new")
            reader, writer = await asyncio.open_unix_connection(screen.path)
            kept = await reader.readuntil(b"new")
            assert len(kept) <= 10_000
            writer.close()
            await writer.wait_closed()
            reader, writer = await asyncio.open_unix_connection(screen.path)
            await screen.say(b"again")
            assert (await reader.readexactly(5)) == b"again"
            writer.close()

    asyncio.run(run())


def test_a_new_reader_takes_the_place_of_another_and_types(banger_paths):
    async def run():
        async with Screen(banger_paths.runtime / "c") as screen:
            first, first_writer = await asyncio.open_unix_connection(screen.path)
            await screen.say(b"one")
            assert await first.readexactly(3) == b"one"
            second, writer = await asyncio.open_unix_connection(screen.path)
            assert await first.read() == b""
            first_writer.close()
            await screen.say(b"two")
            assert await second.readexactly(3) == b"two"
            writer.write(b"typed" * 100_000)
            await writer.drain()
            while not (typed := _read(screen.keyboard)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert typed.startswith(b"typed")
            screen.end()
            await screen.console.ended.wait()
            await screen.console.finish()
            assert await second.read() == b""
            writer.close()

    asyncio.run(run())


def _read(handle):
    try:
        return os.read(handle, 10)
    except BlockingIOError:
        return b""


ENDS = [
    ([b"[ 1.0] Kernel panic - not sync", b"ing: x\n[2.0] reboot: Restarting sys", b"tem"], "panic"),
    ([b"reboot: Restarting system"], "reset"),
    ([b"nothing at all", b"reboot: maybe"], None),
]


@pytest.mark.parametrize(("said", "reason"), ENDS)
def test_the_last_words_of_a_kernel_are_noted(tmp_path, said, reason):
    end = End(tmp_path / "end", 0)
    for data in said:
        end.hear(data)
    found = (tmp_path / "end").read_text() if (tmp_path / "end").exists() else None
    assert found == (f"guest-{reason}" if reason else None)


@pytest.mark.parametrize("word", ["System halted", "Power down", "Power off not available: x"])
def test_a_guest_that_has_halted_ends_its_machine(tmp_path, word):
    script = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from banger_firecracker.host.notes import End\nvmm = os.getpid()\n"
        "if os.fork() == 0:\n"
        f"    End(Path(sys.argv[1]), vmm).hear(b'reboot: {word}')\n    os._exit(0)\n"
        "time.sleep(600)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "end")], timeout=90, check=False
    )
    assert done.returncode == -15
    assert (tmp_path / "end").read_text() == "guest-shutdown"


def test_the_log_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "LOG_LIMIT", 1000)
    log = Log(tmp_path / "log")
    for number in range(100):
        log.add(b"%099d\n" % number)
    kept = [(tmp_path / name).read_bytes() for name in ("log.old", "log")]
    assert sum(map(len, kept)) <= 1000
    assert kept[1].endswith(b"%099d\n" % 99)


def test_of_the_metrics_the_last_whole_line_is_kept(tmp_path):
    last = LastLine(tmp_path / "metrics")
    for piece in (b'{"a":', b"1}\n", b'{"a":2}\n{"a":', b"3}"):
        last.add(piece)
    assert (tmp_path / "metrics").read_bytes() == b'{"a":2}'


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"OK 1073741824\nhello", None),
        (b"", "no answer"),
        (b"NO\n", "the answer is"),
        (b"O" * 100, "the answer is"),
    ],
)
def test_a_stream_into_the_guest_begins_with_a_handshake(banger_paths, answer, problem):
    path = banger_paths.runtime / "v"
    asked = []

    async def serve(reader, writer):
        asked.append(await reader.readline())
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async def run():
        async with await asyncio.start_unix_server(serve, path):
            if problem:
                with pytest.raises(GuestFailed) as caught:
                    await vsock.connect(path, 1022)
                assert problem in caught.value.cause
                return
            reader, writer = await vsock.connect(path, 1022)
            assert await reader.read() == b"hello"
            writer.close()

    asyncio.run(run())
    assert asked == [b"CONNECT 1022\n"]


@pytest.fixture
def kvm(monkeypatch, tmp_path):
    """A host whose ``/dev/kvm`` opens."""
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(kvm_module, "KVM", device)
    monkeypatch.setattr(kvm_module, "kvm_problem", lambda: "")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo '@@ banger probe'; exit 0", ""),
        ("exit 0", "a guest ended under KVM before it was up"),
        ("echo no rights >&2; exit 1", "Firecracker cannot use KVM"),
        ("sleep 60", "did not boot under KVM in 1 s"),
    ],
)
def test_the_trial_of_kvm_decides(kvm, driver, dirs, cx, tmp_path, script, reason):
    fake = tmp_path / "firecracker"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    deadline = 1.0 if script == "sleep 60" else 60.0
    cx._settings.update(firecracker_bin=str(fake), probe_deadline=deadline)
    if not reason:
        assert asyncio.run(driver.accel("auto", dirs, cx)) == "kvm"
        return
    for wanted in ("auto", "kvm"):
        with pytest.raises(HostNotReady) as caught:
            asyncio.run(driver.accel(wanted, dirs, cx))
        assert reason in caught.value.cause
        assert "--driver qemu" in caught.value.hints
    assert remembered_verdict(cx).accel == "tcg"


def test_the_host_program_needs_nothing_of_the_core():
    code = (
        "import sys, banger_firecracker.host.launch\n"
        "print([name for name in sys.modules if name.startswith('banger_core')])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


def test_the_host_program_says_what_it_cannot_do(tmp_path):
    options = Options(directory=str(tmp_path / "gone"), fifos=str(tmp_path / "gone"), owner=0)
    argv = [sys.executable, "-I", "-m", "banger_firecracker.host.launch", options.to_text(), "x"]
    done = subprocess.run(argv, capture_output=True, timeout=90, text=True, check=False)
    assert done.returncode == 125
    assert done.stderr.startswith("banger-host: cannot make")
    assert "Traceback" not in done.stderr
    assert not list(Path(tmp_path).iterdir())
