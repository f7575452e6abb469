from __future__ import annotations

import asyncio
import logging
import shlex
import time
from contextlib import suppress

import pytest

from banger_core import packages
from banger_core.engine import run as module
from banger_core.engine.process import alive, identify
from banger_core.engine.run import run
from banger_core.errors import BangerError, HostNotReady
from banger_core.packages import find_program
from banger_core.testing import leaks


def ran(*argv: str, **options) -> bytes:
    return asyncio.run(run(argv, **options))


def test_stdout_is_returned_and_stdin_fed():
    data = bytes(range(256)) * 4000
    assert ran("cat", stdin=data) == data


def test_a_program_that_does_not_read_its_input_may_succeed():
    assert ran("true", stdin=b"x" * 10_000_000) == b""


def test_where_and_with_what_it_runs(tmp_path):
    script = 'printf "%s %s %s" "$PWD" "$EXTRA" "$LC_ALL"; cat'
    out = ran("sh", "-c", script, env={"EXTRA": "e"}, cwd=tmp_path)
    assert out.decode() == f"{tmp_path} e C.UTF-8"


def test_administrators_programs_are_found_by_plain_users(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert find_program("mke2fs").endswith("/mke2fs")
    assert b"/sbin" in ran("sh", "-c", "echo $PATH")


def test_a_missing_program_names_its_package(monkeypatch):
    monkeypatch.setattr(packages, "search_path", lambda: "/nowhere")
    with pytest.raises(HostNotReady, match="gpgv is not installed") as caught:
        ran("gpgv")
    assert caught.value.hints == ("sudo apt-get install gpgv",)


def test_failure_says_why_and_how_to_repeat(caplog):
    argv = ("sh", "-c", "echo first >&2; printf '\\033[31mthe reason\\033[0m\\n\\n' >&2; exit 3")
    with caplog.at_level(logging.DEBUG), pytest.raises(BangerError) as caught:
        ran(*argv)
    assert caught.value.summary == "sh failed (exit status 3)"
    assert caught.value.cause == "the reason"
    assert shlex.split(caught.value.hints[0].partition(": ")[2]) == list(argv)
    assert f"run: {shlex.join(argv)}" in caplog.messages


def test_a_signal_is_named():
    with pytest.raises(BangerError, match="SIGKILL"):
        ran("sh", "-c", "kill -9 $$")


@pytest.mark.parametrize("leader", ["wait", "exit 0"])
def test_a_timeout_ends_the_whole_process_group(tmp_path, leader, fake_clock):
    """Also when the program itself has ended and only its child keeps the pipes open."""
    pidfile = tmp_path / "pid"

    async def expire() -> None:
        argv = ["sh", "-c", f"sleep 600 & echo $! >{pidfile}; {leader}"]
        task = asyncio.create_task(run(argv, timeout=1000))
        await written(pidfile)
        # It may not have begun to count yet
        while not task.done():
            await fake_clock.advance(1001)
            await asyncio.sleep(0.01)
        await task

    with pytest.raises(BangerError, match="longer than 1000 s"):
        asyncio.run(expire())
    gone(pidfile)


def test_cancelling_ends_the_whole_process_group(tmp_path):
    pidfile = tmp_path / "pid"

    async def cancel() -> None:
        task = asyncio.create_task(run(["sh", "-c", f"sleep 600 & echo $! >{pidfile}; wait"]))
        await written(pidfile)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(cancel())
    gone(pidfile)


def test_cancelling_the_start_ends_what_the_program_has_started_by_then(tmp_path):
    pidfile = tmp_path / "pid"

    async def cancel() -> None:
        task = asyncio.create_task(run(["sh", "-c", f"sleep 600 & echo $! >{pidfile}; wait"]))
        before = leaks.children()
        while leaks.children() == before:  # noqa: ASYNC110
            await asyncio.sleep(0)
        # The loop does not turn meanwhile, so that asyncio has not finished starting the program
        while not (pidfile.exists() and pidfile.read_text().endswith("\n")):
            time.sleep(0.01)  # noqa: ASYNC251
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(cancel())
    gone(pidfile)


async def written(pidfile) -> None:
    while not (pidfile.exists() and pidfile.read_text().endswith("\n")):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def gone(pidfile) -> None:
    """SIGKILL is sent, not yet delivered: look until it is; a hang ends at the test's timeout."""
    with suppress(ProcessLookupError):
        found = identify(int(pidfile.read_text()))
        while alive(found):
            pass


def test_endless_output_is_stopped(monkeypatch):
    monkeypatch.setattr(module, "OUTPUT_LIMIT", 1 << 20)
    with pytest.raises(BangerError, match="wrote more than 1 MiB"):
        ran("yes")


def test_endless_complaints_are_bounded():
    script = "head -c 5000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo the end >&2; exit 1"
    with pytest.raises(BangerError) as caught:
        ran("sh", "-c", script)
    assert caught.value.cause == "the end"
