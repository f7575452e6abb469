from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest

from banger_core.api import Conflict, Forward, GuestFailed, HostNotReady
from banger_core.engine.process import alive, recorded
from banger_qemu import driver as driver_module
from banger_qemu.driver import QemuDriver


@pytest.fixture
def spec(dirs, make_plan):
    return QemuDriver(tsc_khz=1).launch(make_plan(), dirs, "tcg")


def start(spec, cx):
    return asyncio.run(QemuDriver(tsc_khz=1).start(spec, cx))


def test_missing_qemu_names_the_package(spec, cx):
    cx.settings["binary"] = "/nowhere/qemu"
    with pytest.raises(HostNotReady) as caught:
        start(spec, cx)
    assert "/nowhere/qemu" in caught.value.summary
    assert caught.value.hints == ("sudo apt-get install qemu-system-x86",)
    assert not cx.calls


def test_qemu_that_ends_at_once_has_the_last_word(spec, cx, fake_qemu):
    cx.settings["binary"] = str(
        fake_qemu("echo first >&2; echo 'qemu-fake: no such option' >&2; exit 1")
    )
    with pytest.raises(GuestFailed) as caught:
        start(spec, cx)
    assert caught.value.cause == "no such option"


def test_qemu_that_never_answers_is_ended(spec, cx, fake_qemu, dirs, monkeypatch):
    monkeypatch.setattr(driver_module, "START_DEADLINE", 0.3)
    cx.settings["binary"] = str(fake_qemu("exec sleep 60"))
    with pytest.raises(GuestFailed, match="does not answer"):
        start(spec, cx)
    process = recorded(dirs.runtime)
    assert process is not None
    assert not alive(process)


def test_cancelled_start_leaves_no_process(spec, cx, fake_qemu, dirs):
    cx.settings["binary"] = str(fake_qemu("exec sleep 60"))

    async def run():
        task = asyncio.create_task(QemuDriver(tsc_khz=1).start(spec, cx))
        while recorded(dirs.runtime) is None:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(run())
    assert not alive(recorded(dirs.runtime))


def test_real_qemu_names_a_taken_port(dirs, make_plan, cx):
    """Ends before it would boot anything."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        forward = Forward(host_address="127.0.0.1", host_port=port, guest_port=1022)
        plan = make_plan(net={"forwards": (forward,)}, disk_format="raw")
        dirs.seed.write_bytes(bytes(512))
        with pytest.raises(Conflict) as caught:
            start(QemuDriver(tsc_khz=1).launch(plan, dirs, "tcg"), cx)
    assert str(port) in caught.value.cause


def test_adoption_without_control_socket_can_still_wait_and_kill(dirs, spec, cx, fake_qemu):
    async def run():
        process = await cx.spawn([str(fake_qemu("exec sleep 60"))], directory=dirs.runtime)
        machine = await QemuDriver(tsc_khz=1).adopt(spec, process, cx)
        with pytest.raises(GuestFailed):
            await machine.pause()
        await machine.kill()
        assert (await machine.wait()).status == -9

    asyncio.run(run())
