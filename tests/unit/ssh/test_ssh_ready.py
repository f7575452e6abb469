"""The readiness probe against servers that behave as QEMU's user network and slow guests do."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from banger_core.engine import ssh_ready
from banger_core.engine.ssh_ready import wait_for_ssh
from banger_core.errors import GuestFailed

GREETING = b"SSH-2.0-dropbear\r\n"


@asynccontextmanager
async def listening(serve):
    """Serve on a free port; ``serve`` is called with the connection's number and writer."""
    count = 0

    async def each(_reader, writer):
        nonlocal count
        count += 1
        # A task of its own: asyncio reports the cancelling of those that it makes
        serving.append(asyncio.create_task(serve(count, writer)))
        await asyncio.wait(serving[-1:])
        writer.close()

    serving = []
    server = await asyncio.start_server(each, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)


def probe(serve, timeout=60.0, alive=lambda: True, hint=None, **more):
    async def scene():
        async with listening(serve) as port:
            await wait_for_ssh("127.0.0.1", port, timeout, alive, hint, "web", **more)

    asyncio.run(scene())


async def hang(_number, _writer):
    await asyncio.Event().wait()


def test_a_greeting_ends_the_wait():
    async def serve(_number, writer):
        writer.write(GREETING)
        await writer.drain()

    probe(serve)


def test_lines_before_the_greeting_are_allowed():
    async def serve(_number, writer):
        writer.write(b"welcome\r\nto this\r\n" + GREETING)
        await writer.drain()

    probe(serve)


def test_connections_that_stay_silent_or_hang_up_are_dropped_and_tried_again(
    fake_clock, monkeypatch
):
    monkeypatch.setattr(ssh_ready, "_FIRST", 60.0)
    seen = []

    async def serve(number, writer):
        seen.append(number)
        if number == 1:
            await fake_clock.advance(61)
            await hang(number, writer)
        if number > 3:
            writer.write(GREETING)
            await writer.drain()

    probe(serve, timeout=3600, longest=60)
    assert seen == [1, 2, 3, 4]


def test_a_slow_guest_gets_more_time_with_each_attempt():
    """A greeting that always takes longer than the first attempts last is heard in the end."""

    async def serve(_number, writer):
        await asyncio.sleep(0.25)
        writer.write(GREETING)
        await writer.drain()

    probe(serve)


def test_nothing_listens_until_the_deadline():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        waiting = wait_for_ssh(*taken.getsockname(), 1.0, lambda: True, None, "web")
        with pytest.raises(GuestFailed, match="web did not answer") as problem:
            asyncio.run(waiting)
    assert "refused" in problem.value.cause
    assert problem.value.hints == ("banger vm logs web",)


@pytest.mark.parametrize(
    ("says", "why"),
    [(b"HTTP/1.1 400\r\n", "not SSH"), (b"x" * 100_000, "not SSH"), (b"", "hangs up")],
)
def test_another_server_is_not_taken_for_ssh(says, why, fake_clock, monkeypatch):
    monkeypatch.setattr(ssh_ready, "_FIRST", 60.0)

    tried = []

    async def serve(number, writer):
        tried.append(number)
        writer.write(says)
        await writer.drain()

    def alive():
        if tried == [1, 2, 3]:
            fake_clock._ahead += 3600
        return True

    with pytest.raises(GuestFailed) as problem:
        probe(serve, timeout=3600, alive=alive, longest=60)
    assert why in problem.value.cause


def test_silence_until_the_deadline(fake_clock):
    async def serve(number, writer):
        await fake_clock.advance(3600)
        await hang(number, writer)

    with pytest.raises(GuestFailed) as problem:
        probe(serve, timeout=3600)
    assert "says nothing" in problem.value.cause


def test_a_vm_that_died_is_noticed_long_before_the_deadline():
    lives = iter([True, True])
    with pytest.raises(GuestFailed, match="stopped before") as problem:
        probe(hang, timeout=1000, alive=lambda: next(lives, False))
    assert problem.value.hints == ("banger vm logs web",)


def test_the_hint_starts_an_attempt_at_once(monkeypatch):
    """The first connection would hang for a minute; the hint makes a second one now."""
    monkeypatch.setattr(ssh_ready, "_QUIET", 0.0)
    monkeypatch.setattr(ssh_ready, "_TOLD", 60.0)

    async def scene():
        hint, greeted = asyncio.Event(), asyncio.Event()

        async def serve(number, writer):
            if number == 1:
                hint.set()
                await hang(number, writer)
            greeted.set()
            writer.write(GREETING)
            await writer.drain()

        async with listening(serve) as port:
            waiting = asyncio.create_task(
                wait_for_ssh("127.0.0.1", port, 90, lambda: True, hint, "web", longest=60)
            )
            await hint.wait()
            await asyncio.wait_for(greeted.wait(), 30)
            await asyncio.wait_for(waiting, 30)

    asyncio.run(scene())


def test_nobody_connects_before_the_hint(monkeypatch):
    monkeypatch.setattr(ssh_ready, "_QUIET", 60.0)

    async def scene():
        hint, told = asyncio.Event(), []

        async def serve(_number, writer):
            told.append(hint.is_set())
            writer.write(GREETING)
            await writer.drain()

        async with listening(serve) as port:
            waiting = asyncio.create_task(wait_for_ssh("127.0.0.1", port, 90, lambda: True, hint))
            await asyncio.sleep(0.3)
            hint.set()
            await asyncio.wait_for(waiting, 30)
        assert told == [True]

    asyncio.run(scene())


def test_after_the_hint_a_busy_guest_is_heard_out(monkeypatch):
    """The greeting takes longer than a first attempt lasts, and is heard all the same."""
    monkeypatch.setattr(ssh_ready, "_TOLD", 30.0)
    seen = []

    async def serve(number, writer):
        seen.append(number)
        await asyncio.sleep(0.4)
        writer.write(GREETING)
        await writer.drain()

    async def scene():
        hint = asyncio.Event()
        hint.set()
        async with listening(serve) as port:
            await wait_for_ssh("127.0.0.1", port, 60, lambda: True, hint, longest=30)

    asyncio.run(scene())
    assert seen == [1]


def test_cancelling_leaves_no_task_behind():
    async def scene():
        async with listening(hang) as port:
            waiting = asyncio.create_task(wait_for_ssh("127.0.0.1", port, 60, lambda: True))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}
            assert not {name for name in names if "_greets" in name or "wait" in name.lower()}

    asyncio.run(scene())
