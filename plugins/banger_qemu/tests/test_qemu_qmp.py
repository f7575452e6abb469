from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from banger_core.api import GuestFailed
from banger_core.engine.process import identify, spawn
from banger_qemu import qmp as qmp_module
from banger_qemu.driver import QemuDriver
from banger_qemu.machine import QemuMachine
from banger_qemu.qmp import Qmp


def test_commands_and_answers(qmp_server):
    async def check():
        async with qmp_server:
            qmp_server.answers["query-status"] = {"return": {"status": "running"}}
            qmp_server.answers["cont"] = {"error": {"class": "GenericError", "desc": "no way"}}
            client = await Qmp.connect(qmp_server.path)
            results = await asyncio.gather(*(client.execute("query-status") for _ in range(5)))
            assert results == [{"status": "running"}] * 5
            await client.execute("chardev-send-break", id="console")
            assert qmp_server.seen[-1]["arguments"] == {"id": "console"}
            with pytest.raises(GuestFailed) as caught:
                await client.execute("cont")
            assert caught.value.cause == "no way"
            await client.close()

    asyncio.run(check())


def test_events_give_the_reason(qmp_server):
    async def check(events):
        async with qmp_server:
            client = await Qmp.connect(qmp_server.path)
            for event in events:
                qmp_server.send(event)
            qmp_server.hang_up()
            await client.closed()
            await client.close()
            return client.shutdown_reason

    shutdown = {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-shutdown"}}
    panicked = {"event": "GUEST_PANICKED", "data": {"action": "pause"}}
    assert asyncio.run(check([{"event": "RESUME"}, shutdown])) == "guest-shutdown"
    assert asyncio.run(check([panicked, shutdown])) == "guest-panic"
    assert asyncio.run(check([{"event": "SHUTDOWN", "data": None}])) == ""


@pytest.mark.parametrize("answer", [b"no json\n", b"[1]\n" + b"x" * (2 << 20), b"cut"])
def test_nonsense_ends_the_connection(qmp_server, answer):
    async def check():
        async with qmp_server:
            client = await Qmp.connect(qmp_server.path)
            qmp_server.answers["stop"] = answer
            pending = asyncio.create_task(client.execute("stop"))
            if answer == b"cut":
                await asyncio.wait([pending], timeout=0.1)
                assert not pending.done()
                qmp_server.hang_up()
            with pytest.raises(GuestFailed):
                await pending
            with pytest.raises(GuestFailed, match="stop"):
                await client.execute("stop")
            await client.close()

    asyncio.run(check())


def test_silence_has_a_limit(qmp_server, monkeypatch):
    monkeypatch.setattr(qmp_module, "_ANSWER_LIMIT", 0.05)

    async def check():
        async with qmp_server:
            qmp_server.answers["qmp_capabilities"] = None
            with pytest.raises(GuestFailed) as caught:
                await Qmp.connect(qmp_server.path)
            assert caught.value.cause == "it does not answer"

    asyncio.run(check())


def test_machine_waits_pauses_and_is_killed(qmp_server, dirs, make_plan):
    """Any process stands in for QEMU; it is waited for by identity, child or not."""

    async def check():
        process = await spawn(["sleep", "60"], directory=dirs.runtime)
        spec = QemuDriver(tsc_khz=1).launch(make_plan(), dirs, "tcg")
        spec = replace(spec, sockets={"qmp": qmp_server.path, "console": dirs.runtime / "none"})
        async with qmp_server:
            machine = QemuMachine(spec, process, None)
            await machine.pause()
            await machine.resume()
            commands = [request["execute"] for request in qmp_server.seen]
            assert commands == ["qmp_capabilities", "stop", "query-migrate", "cont"]

            cancelled = asyncio.create_task(machine.wait())
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            assert identify(process.pid) == process

            waiting = asyncio.create_task(machine.wait())
            await machine.kill()
            await machine.kill()
            qmp_server.hang_up()
            ended = await waiting
            assert (ended.status, ended.reason) == (-9, "killed")

    asyncio.run(check())
