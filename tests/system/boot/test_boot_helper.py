"""The guest helper in a real machine that has no network card at all."""

from __future__ import annotations

import asyncio
import time

import pytest

from banger_core.guest.helper import GuestHelper
from banger_core.model import NetPlan

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

NO_NETWORK = {"address": "", "gateway": "", "nameserver": ""}

BOOT = 60.0
"""Seconds until a helper is there, on a busy host."""


def words(answer: str) -> list[str]:
    """The first word of each line."""
    return [line.split()[0] for line in answer.splitlines()]


def test_helper_answers_without_a_network_and_powers_off(boot, boot_parts):
    async def journey():
        net = NetPlan(network="none", kind="none")
        async with boot(boot_parts.debian, net=net, **NO_NETWORK) as guest:
            helper = GuestHelper(guest.machine.helper, "tester")
            await helper.open()
            health = await helper.ask("health", deadline=BOOT)
            assert words(health)[:4] == ["time", "uptime", "init", "load"]
            assert "init own /run/banger/bin/busybox" in health
            assert "mount / rw 4096 " in health
            assert {"cpu", "net", "disk", "memory"} <= set(words(await helper.ask("stats")))
            assert "socket tcp 00000000:03FE" in await helper.ask("ports")

            # A daemon that died in the middle of a question leaves half an answer to the next
            _, writer = helper._stream
            writer.write(b"@banger 1 0123456789abcdef stats\n@banger 1 0123")
            await writer.drain()
            helper.close()
            helper = GuestHelper(guest.machine.helper, "tester")
            assert "memory MemTotal:" in await helper.ask("stats")

            later = int(time.time()) + 86400
            said = await helper.ask(f"time {later}")
            assert abs(float(said.split()[1]) - later) < BOOT

            await helper.ask("shutdown")
            async with asyncio.timeout(BOOT):
                assert (await guest.machine.wait()).reason == "guest-shutdown"
            helper.close()

    asyncio.run(journey())
