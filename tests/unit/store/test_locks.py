from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys

import pytest

from banger_core.errors import Conflict
from banger_core.store.locks import FileLock

HOLD = (
    "import sys; from pathlib import Path; from banger_core.store.locks import FileLock\n"
    "lock = FileLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True)\n"
    "sys.stdin.readline()"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def other(path):
    """Another process that holds the lock."""
    argv = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"held\n"
        yield child
        child.kill()


def test_one_holder_also_within_a_process(path):
    first, second = FileLock(path), FileLock(path)
    with first:
        assert first.held
        assert not second.try_acquire()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert second.try_acquire()
    second.release()
    second.release()


def test_a_lock_taken_before_the_block_is_released_after_it(path):
    lock = FileLock(path)
    lock.acquire()
    with lock:
        assert not FileLock(path).try_acquire()
    assert not lock.held


def test_the_holder_is_named(path, other):
    lock = FileLock(path)
    assert lock.holder() == other.pid
    with pytest.raises(Conflict) as caught:
        lock.acquire(timeout=0.1)
    assert str(other.pid) in caught.value.cause


def test_a_killed_holder_holds_nothing(path, other):
    other.kill()
    other.wait()
    with FileLock(path) as lock:
        assert lock.holder() == os.getpid()


def test_a_child_does_not_inherit_the_lock(path):
    lock = FileLock(path)
    lock.acquire()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        lock.release()
        assert FileLock(path).try_acquire()
        child.kill()


def test_waiting_ends_when_the_holder_ends(path, other):
    async def wait() -> None:
        waiting = asyncio.create_task(FileLock(path).wait())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        other.kill()
        await asyncio.wait_for(waiting, 60)

    asyncio.run(wait())


def test_a_cancelled_wait_holds_nothing(path):
    async def cancel() -> None:
        with FileLock(path):
            lock = FileLock(path)
            waiting = asyncio.create_task(lock.wait())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert not lock.held
        async with FileLock(path) as again:
            assert again.held

    asyncio.run(cancel())


def test_a_lock_on_a_removed_file_is_not_enough(path, monkeypatch):
    import fcntl

    real = fcntl.flock

    def remove_first(handle, how):
        monkeypatch.setattr(fcntl, "flock", real)
        path.unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    first = FileLock(path)
    assert first.try_acquire()
    assert not FileLock(path).try_acquire()


@pytest.mark.parametrize("text", ["", "x", "-1", "\udcff"])
def test_a_file_without_a_pid_names_nobody(path, text):
    path.write_bytes(os.fsencode(text))
    assert FileLock(path).holder() is None
