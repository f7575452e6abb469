from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from banger_core.engine import process
from banger_core.engine.process import (
    alive,
    exit_status,
    identify,
    last_words,
    recorded,
    spawn,
    wait_gone,
)
from banger_core.errors import BangerError, Conflict, HostNotReady
from banger_core.model import ProcessId


@pytest.fixture
def directory(tmp_path):
    """A directory for one process, which is killed at the end."""
    yield tmp_path
    if last := recorded(tmp_path):
        process.signal(last, signal.SIGKILL)


def test_last_words_are_lines_that_can_be_shown(tmp_path):
    assert last_words(tmp_path) == []
    log = tmp_path / "vmm.log"
    log.write_bytes(b"")
    assert last_words(tmp_path) == []
    log.write_bytes(b"one\n\n  \x1b[31mtwo\x1b[0m \r\nthr\xffee\x07")
    assert last_words(tmp_path) == ["one", "two", "thr\ufffdee"]
    log.write_bytes(b"at first\n" + b"x" * (1 << 16) + b"\nat last\n")
    first, last = last_words(tmp_path)
    assert last == "at last"
    assert set(first) == {"x"}


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


async def ended(process_id: ProcessId) -> int | None:
    await asyncio.wait_for(wait_gone(process_id), 60)
    return exit_status(process_id)


def field(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{name}:"))


# --- identity --------------------------------------------------------------------------------


def test_identity_is_stable_and_lives(sleeper):
    found = identify(sleeper.pid)
    assert found == identify(sleeper.pid)
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert alive(found)


@pytest.mark.parametrize("comm", [b") Z 1 (x", b"a b", b"))) S 1 2", b"(\n)", b"\xff\xfe"])
def test_a_misleading_name_misleads_nobody(comm):
    before = identify(os.getpid())
    name = Path("/proc/self/comm").read_bytes().strip()
    libc = ctypes.CDLL(None)
    assert libc.prctl(15, comm, 0, 0, 0) == 0  # PR_SET_NAME
    try:
        assert identify(os.getpid()) == before
        assert alive(before)
    finally:
        libc.prctl(15, name, 0, 0, 0)


def test_a_reused_pid_is_another_process(sleeper):
    found = identify(sleeper.pid)
    for other in (
        replace(found, start_ticks=found.start_ticks - 1),
        replace(found, boot_id="00000000-0000-0000-0000-000000000000"),
    ):
        assert not alive(other)
        assert not process.signal(other, signal.SIGKILL)
        asyncio.run(asyncio.wait_for(wait_gone(other), 60))
    assert sleeper.poll() is None
    assert alive(found)


def test_a_pid_reused_between_opening_and_checking_is_not_hit(sleeper, monkeypatch):
    """The handle leads to an innocent process; the identity says that it is not the one meant."""
    gone = replace(identify(os.getpid()), start_ticks=1)
    monkeypatch.setattr(os, "pidfd_open", lambda _pid, real=os.pidfd_open: real(sleeper.pid))
    assert not process.signal(gone, signal.SIGKILL)
    assert sleeper.poll() is None


def test_what_never_was():
    with pytest.raises(ProcessLookupError):
        identify(2**22 + 1)
    nobody = ProcessId(pid=2**22 + 1, start_ticks=1, boot_id="b")
    assert not alive(nobody)
    assert not process.signal(nobody, signal.SIGTERM)
    assert asyncio.run(ended(nobody)) is None


def test_a_zombie_is_not_alive(sleeper):
    found = identify(sleeper.pid)
    assert process.signal(found, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert field(sleeper.pid, "State").startswith("Z")
    assert not alive(found)
    assert not process.signal(found, 0)
    asyncio.run(asyncio.wait_for(wait_gone(found), 60))
    assert sleeper.wait() == -signal.SIGKILL, "the child of somebody else is not reaped"


def test_waiting_for_a_process_that_is_no_child():
    script = "sleep 60 >/dev/null 2>&1 & echo $!"
    shell = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True)
    found = identify(int(shell.stdout))

    async def wait_and_kill() -> None:
        waits = [asyncio.create_task(ended(found)) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not any(wait.done() for wait in waits)
        waits[0].cancel()
        await asyncio.wait(waits[:1])
        assert alive(found)
        assert process.signal(found, signal.SIGKILL)
        assert await asyncio.gather(*waits[1:]) == [None, None]

    asyncio.run(wait_and_kill())
    assert not alive(found)


# --- spawning --------------------------------------------------------------------------------


def test_a_spawned_program_is_clean_and_recorded(directory, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)

    async def start() -> ProcessId:
        return await spawn(["sleep", "60"], directory=directory)

    found = asyncio.run(start())
    os.close(leaked)
    proc = Path(f"/proc/{found.pid}")
    assert recorded(directory) == found == identify(found.pid)
    assert proc.joinpath("cmdline").read_bytes() == b"sleep\x0060\x00"
    names = {item.partition(b"=")[0] for item in proc.joinpath("environ").read_bytes().split(b"\0")}
    assert names - {b"_", b"SHLVL"} == {b"PATH", b"LANG", b""}
    log = str(directory / "vmm.log")
    fds = {fd.name: str(fd.readlink()) for fd in (proc / "fd").iterdir()}
    # The program may be reading its locale still; nothing that we had open may be there
    kept = {name: place for name, place in fds.items() if not place.startswith("/usr/lib/")}
    assert kept == {"0": "/dev/null", "1": log, "2": log}
    assert os.getsid(found.pid) == found.pid
    assert (proc / "cwd").readlink() == Path("/")
    assert field(found.pid, "Umask") == "0077"
    for name in ("process", "vmm.log"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600


def test_arguments_arrive_as_they_are(directory):
    odd = ["", " a  b ", "'\"", "$HOME", "`id`", "*", "-n", "\n", "é", ";", "\\"]

    async def start() -> int | None:
        return await ended(await spawn(["printf", r"%s\0", *odd], directory=directory))

    assert asyncio.run(start()) == 0
    assert (directory / "vmm.log").read_text().split("\0")[:-1] == odd


def test_both_outputs_go_to_a_fresh_log(directory):
    (directory / "vmm.log").write_text("old")

    async def start() -> int | None:
        argv = ["sh", "-c", "echo out; echo err >&2; exit 7"]
        return await ended(await spawn(argv, directory=directory))

    assert asyncio.run(start()) == 7
    assert sorted((directory / "vmm.log").read_text().split()) == ["err", "out"]


def test_children_are_reaped_without_being_waited_for(directory):
    async def start() -> list[ProcessId]:
        found = []
        for number in range(5):
            place = directory / str(number)
            place.mkdir()
            found.append(await spawn(["true"], directory=place))
        async with asyncio.timeout(60):
            while any(Path(f"/proc/{each.pid}").exists() for each in found):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return found

    assert [exit_status(each) for each in asyncio.run(start())] == [0] * 5


def test_the_status_is_kept_although_nobody_waited(directory):
    async def start() -> ProcessId:
        found = await spawn(["sleep", "60"], directory=directory)
        assert exit_status(found) is None
        return found

    found = asyncio.run(start())
    handle = os.pidfd_open(found.pid)
    process.signal(found, signal.SIGTERM)
    os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOWAIT)
    os.close(handle)
    assert exit_status(found) == -signal.SIGTERM


def test_one_running_process_per_directory(directory):
    async def start() -> None:
        first = await spawn(["sleep", "60"], directory=directory)
        with pytest.raises(Conflict) as caught:
            await spawn(["sleep", "60"], directory=directory)
        assert str(first.pid) in caught.value.cause
        assert recorded(directory) == first
        process.signal(first, signal.SIGKILL)
        await wait_gone(first)
        second = await spawn(["sleep", "60"], directory=directory)
        assert recorded(directory) == second != first

    asyncio.run(start())


def test_what_cannot_start_says_why(directory):
    async def start(argv: list[str], where: Path) -> None:
        await spawn(argv, directory=where)

    with pytest.raises(HostNotReady, match="no-such-vmm is not installed"):
        asyncio.run(start(["no-such-vmm"], directory))
    with pytest.raises(HostNotReady, match="cannot write"):
        asyncio.run(start(["true"], directory / "missing"))
    assert recorded(directory) is None


def test_no_record_no_program(directory, monkeypatch):
    marker = directory / "ran"
    monkeypatch.setattr(process, "RECORD", "missing/process")

    async def start() -> None:
        await spawn(["touch", str(marker)], directory=directory)

    with pytest.raises(BangerError, match="cannot start touch"):
        asyncio.run(start())
    assert not marker.exists()


def test_a_daemon_that_dies_before_it_answers_leaves_no_program(directory):
    """What the launcher meets when the daemon is killed right after fork: its stdin ends."""
    marker = directory / "ran"
    argv = ["sh", "-c", process._LAUNCHER, "x", str(directory / "process"), "touch", str(marker)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (125, b"recorded\n")
    assert not marker.exists()
    last = recorded(directory)
    assert last
    assert not alive(last)


def test_a_cancelled_spawn_leaves_no_process(directory):
    async def start() -> None:
        spawning = asyncio.create_task(spawn(["sleep", "60"], directory=directory))
        await asyncio.sleep(0)
        spawning.cancel()
        await asyncio.wait([spawning])
        assert spawning.cancelled()

    asyncio.run(start())
    last = recorded(directory)
    assert last is None or not alive(last)


DAEMON = """
import asyncio, os, sys
from pathlib import Path
from banger_core.engine.process import spawn
async def main():
    print((await spawn(["sleep", "60"], directory=Path(sys.argv[1]))).pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGHUP, signal.SIGINT])
def test_a_program_outlives_its_daemon_and_is_found_again(directory, how):
    argv = [sys.executable, "-c", DAEMON, str(directory)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as daemon:
        pid = int(daemon.stdout.readline())
        os.killpg(daemon.pid, how)
    found = recorded(directory)
    assert found
    assert found.pid == pid
    assert alive(found)
    assert process.signal(found, signal.SIGTERM)
    asyncio.run(ended(found))
    assert not alive(found)


def test_a_half_written_record_is_no_record(directory):
    record = directory / "process"
    stat_line = Path("/proc/self/stat").read_bytes()
    whole = identify(os.getpid()).boot_id.encode() + b"\n" + stat_line + b".\n"
    record.write_bytes(whole)
    assert recorded(directory) == identify(os.getpid())
    for length in range(len(whole)):
        record.write_bytes(whole[:length])
        assert recorded(directory) is None, length
    for wrong in (b"\n\n.\n", b"b\n1 (x) S\n.\n", b"\xff\n" + stat_line + b".\n", b"x" * 9000):
        record.write_bytes(wrong)
        assert recorded(directory) is None
    record.unlink()
