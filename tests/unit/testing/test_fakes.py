"""What tests of the engine and the daemon rely on."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys

import pytest

from banger_core.config.paths import secure_dir
from banger_core.errors import HostNotReady, IntegrityError, PluginError, Unreachable
from banger_core.model import ImageRef
from banger_core.testing.contracts.samples import free_net, sample_dirs, sample_plan
from banger_core.testing.fakes import CONFIG
from banger_core.testing.fakes.driver import FakeDriver
from banger_core.testing.install import install_plugin


@pytest.fixture
def boot(fake_context, banger_paths):
    """Run an async function with a fake machine that runs."""

    def run(use):
        plan, dirs = sample_plan(driver="fake", net=free_net()), sample_dirs(banger_paths.runtime)
        secure_dir(dirs.runtime)

        async def whole():
            spec = FakeDriver().launch(plan, dirs, "tcg")
            await use(await FakeDriver().start(spec, fake_context), plan)

        asyncio.run(asyncio.wait_for(whole(), 90))

    return run


def test_machine_greets_and_hangs_up_when_answered(boot):
    async def use(machine, plan):
        with socket.create_connection(plan.net.ssh, timeout=60) as client:
            assert client.recv(100) == b"SSH-2.0-fake\r\n"
            client.sendall(b"SSH-2.0-OpenSSH_9\r\n")
            assert client.recv(100) == b""
        await machine.kill()

    boot(use)


def test_machine_ends_when_asked_and_says_so(boot):
    async def use(machine, _):
        await machine.stop(60.0)
        ended = await machine.wait()
        assert (ended.status, ended.reason) == (0, "guest-shutdown")

    boot(use)


def test_killed_machine_says_so(boot):
    async def use(machine, _):
        await machine.kill()
        ended = await machine.wait()
        assert (ended.status, ended.reason) == (-9, "killed")
        assert [chunk async for chunk in machine.console()] == []

    boot(use)


def test_paused_machine_does_not_answer_until_resumed(boot):
    async def use(machine, plan):
        await machine.pause()
        with socket.create_connection(plan.net.ssh, timeout=60) as client:
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(100)
            await machine.resume()
            client.settimeout(60)
            assert client.recv(100).startswith(b"SSH-2.0-")
        await machine.kill()

    boot(use)


def test_whoever_left_meanwhile_harms_no_machine(boot):
    async def use(machine, plan):
        await machine.pause()
        with socket.create_connection(plan.net.ssh, timeout=60) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for _ in range(2):
            _, writer = await machine.helper()
            writer.write(b"@banger 1 0123456789abcdef health\n")
            await writer.drain()
            writer.transport.abort()
        await machine.resume()
        with socket.create_connection(plan.net.ssh, timeout=60) as client:
            assert client.recv(100) == b"SSH-2.0-fake\r\n"
        await machine.kill()

    boot(use)


def test_kvm_cannot_be_demanded(fake_context):
    with pytest.raises(HostNotReady):
        asyncio.run(FakeDriver().accel("kvm", None, fake_context))


@pytest.mark.parametrize(("name", "error"), [("unreachable", Unreachable), ("buggy", PluginError)])
def test_images_that_cannot_be_fetched(fresh_registry, fake_context, name, error):
    source = fresh_registry("banger_core.testing.fakes").image_sources.load("fake")
    pin = asyncio.run(source.resolve(ImageRef("fake", name), fake_context))
    with pytest.raises(error):
        asyncio.run(source.fetch(pin, fake_context))


def test_image_that_is_not_what_it_promised(fresh_registry, fake_context):
    source = fresh_registry("banger_core.testing.fakes").image_sources.load("fake")
    pin = asyncio.run(source.resolve(ImageRef("fake", "corrupt"), fake_context))
    with source.layers(pin, fake_context) as layers, pytest.raises(IntegrityError):
        [list(layer.entries()) for layer in layers]


def test_endless_image_can_be_interrupted(fresh_registry, fake_context):
    source = fresh_registry("banger_core.testing.fakes").image_sources.load("fake")

    async def interrupted():
        pin = await source.resolve(ImageRef("fake", "endless"), fake_context)
        async with asyncio.timeout(0.1):
            await source.fetch(pin, fake_context)

    with pytest.raises(TimeoutError):
        asyncio.run(interrupted())


def test_fakes_go_through_the_whole_house(banger_paths, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    install_plugin(site, "fakes", module="banger_core.testing.fakes")
    secure_dir(banger_paths.config)
    banger_paths.settings_file.write_text(CONFIG)
    environment = {**os.environ, "PYTHONPATH": str(site), "BANGER_PLUGINS": "fakes"}

    def banger(*words):
        found = subprocess.run(
            [sys.executable, "-m", "banger_core", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    try:
        banger("vm", "run", "--detach", "--name", "one")
        (vm,) = json.loads(banger("vm", "list", "--json"))
        assert (vm["name"], vm["state"]) == ("one", "running")
        # The machine outlives its daemon, and the next one takes it over
        banger("daemon", "stop")
        (vm,) = json.loads(banger("vm", "list", "--json"))
        assert vm["state"] == "running"
        banger("vm", "delete", "--force", "one")
        assert json.loads(banger("vm", "list", "--json")) == []
    finally:
        # That no process is left is checked by the fixture
        banger("daemon", "stop")
