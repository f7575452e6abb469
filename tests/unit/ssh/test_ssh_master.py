"""The connection that commands share: kept by the daemon, harmless to commands."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from banger_core.engine import process, ssh_masters
from banger_core.engine.run import run
from banger_core.engine.ssh import control_path, identity, public_key, ssh_target
from banger_core.engine.ssh_masters import Masters, master_argv
from banger_core.errors import HostNotReady
from banger_core.model import VmState


@pytest.fixture
def shared(paths, settings, start_sshd, make_record):
    """A target, its server, and the socket of its shared connection."""
    key = asyncio.run(identity(paths, settings, run))
    server = start_sshd(asyncio.run(public_key(key, run)))
    paths.known_hosts.write_text(f"web.vm {server.host_key}\n")
    record = make_record("web", server.port)
    paths.vm_runtime(record.id).mkdir(parents=True, mode=0o700)
    target = ssh_target(record, paths, settings)
    return target, server, Path(control_path(target))


@pytest.fixture
def master(ssh, shared, eventually):
    """Open the shared connection by hand; it is gone after the test, whatever happened."""
    target, _, _ = shared
    opened = []

    def begin():
        child = subprocess.Popen(
            master_argv(target), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        opened.append(child)
        eventually(lambda: ssh(target, first=("-O", "check")).returncode == 0, "no master")
        return child

    yield begin
    for child in opened:
        child.kill()
        child.wait()


class Room:
    """What the keeper needs of an engine."""

    def __init__(self, paths, record, target):
        self.paths, self.record, self._target = paths, record, target
        self.ssh = SimpleNamespace(target=self._target_of)
        self.records = SimpleNamespace(vm=lambda _: self.record)
        self.intents = SimpleNamespace(of=lambda _: self.begun)
        self.effects = self
        self.begun, self.refused = [], None

    def _target_of(self, _record):
        if self.refused:
            raise self.refused
        return self._target

    async def do(self, vm_id, kind, subject, work):
        self.begun.append(SimpleNamespace(kind=kind, subject=subject))
        return await work()

    async def redo(self, intent, work):
        assert intent in self.begun
        return await work()


@pytest.fixture
def room(paths, shared, make_record, monkeypatch):
    target, server, _ = shared
    monkeypatch.setattr(ssh_masters, "FIRST_PAUSE", 0.05)
    record = replace(make_record("web", server.port), state=VmState.RUNNING)
    return Room(paths, record, target)


async def holds(room, *, other_than=0):
    """Wait until commands can share a connection, and return who holds it."""
    target = room.ssh.target(room.record)
    async with asyncio.timeout(60):
        while True:
            with suppress(Exception):
                await run(["ssh", "-O", "check", *target.argv[1:]])
                found = process.recorded(room.paths.vm_runtime(room.record.id) / "master")
                if found and process.alive(found) and found.pid != other_than:
                    return found
            await asyncio.sleep(0.05)


def master_pid(ssh, target):
    said = ssh(target, first=("-O", "check")).stderr
    return int(re.search(rb"pid=(\d+)", said)[1])


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_commands_share_it_and_keep_their_manners(ssh, shared, master):
    target, _, socket = shared
    master()
    done = ssh(target, "echo out; echo err >&2; exit 7", first=("-v",))
    assert done.returncode == 7
    assert done.stdout == b"out\n"
    assert b"mux_client_request_session" in done.stderr
    assert b"Authenticat" not in done.stderr
    quiet = ssh(target, "echo out; echo err >&2; exit 255")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (255, b"out\n", b"err\n")
    assert len(ssh(target, "cat", input=b"x" * 1_000_000).stdout) == 1_000_000
    assert socket.stat().st_mode & 0o077 == 0


def test_it_ends_with_the_guest(ssh, shared, master, eventually):
    target, server, socket = shared
    master()
    pid = master_pid(ssh, target)
    # A VM that ends cuts its connections: here the process that serves this one stands for it
    for serving in _serving(server.port):
        os.kill(serving, signal.SIGKILL)
    eventually(lambda: gone(pid), "the master outlives its guest")
    eventually(lambda: not socket.exists(), "the socket stays")


def _serving(port):
    """The sshd processes that hold a connection to ``port``."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    held = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}")}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            open_files = {str(handle.readlink()) for handle in (entry / "fd").iterdir()}
            name = (entry / "comm").read_text()
        except OSError:
            continue
        if held & open_files and name.startswith("sshd"):
            yield int(entry.name)


def test_a_killed_master_leaves_commands_to_themselves(ssh, shared, master):
    target, _, socket = shared
    child = master()
    child.kill()
    child.wait()
    assert socket.exists()
    assert ssh(target, "echo ok").stdout == b"ok\n"


def test_without_it_commands_connect_by_themselves_even_many_at_once(shared):
    target, _, socket = shared
    children = [
        subprocess.Popen(
            [*target.argv, "echo ok"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(5)
    ]
    said = [child.communicate(timeout=90) for child in children]
    assert said == [(b"ok\n", b"")] * 5
    assert not socket.exists()


def test_the_keeper_opens_it_and_opens_it_again(room):
    async def go():
        masters = Masters(room)
        try:
            await masters.begin(room.record, settle=0)
            await masters.begin(room.record, settle=0)
            first = await holds(room)
            # Recorded before it was there, as the VMM's process is
            assert [(each.kind, Path(each.subject).name) for each in room.begun] == [
                ("process", "master")
            ]
            process.signal(first, signal.SIGKILL)
            second = await holds(room, other_than=first.pid)
            assert second != first
        finally:
            await masters.end(room.record.id)
            end(room)

    asyncio.run(go())


def test_what_an_earlier_daemon_left_is_kept(room):
    async def go():
        earlier, later = Masters(room), Masters(room)
        try:
            await earlier.begin(room.record, settle=0)
            first = await holds(room)
            await earlier.close()
            assert process.alive(first)
            await later.begin(room.record, settle=0)
            assert len(room.begun) == 1
            await asyncio.sleep(0.3)
            assert process.alive(first)
            process.signal(first, signal.SIGKILL)
            await holds(room, other_than=first.pid)
        finally:
            await later.end(room.record.id)
            end(room)

    asyncio.run(go())


def test_a_policy_that_cannot_be_had_opens_none_until_it_can(room):
    async def go():
        masters = Masters(room)
        try:
            room.refused = HostNotReady("no policy")
            await masters.begin(room.record, settle=0)
            assert not room.begun
            room.refused = None
            await masters.begin(room.record, settle=0)
            await holds(room)
        finally:
            await masters.end(room.record.id)
            end(room)

    asyncio.run(go())


def test_a_guest_that_does_not_answer_gives_none(room, shared, eventually):
    _, server, socket = shared
    server.stop()

    async def go():
        masters = Masters(room)
        await masters.begin(room.record, settle=0)
        log = room.paths.vm_runtime(room.record.id) / "master" / "vmm.log"
        async with asyncio.timeout(60):
            while not log.exists() or b"refused" not in log.read_bytes():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await masters.end(room.record.id)
        end(room)

    asyncio.run(go())
    assert not socket.exists()


def end(room):
    """What undoing the effect does."""
    if found := process.recorded(room.paths.vm_runtime(room.record.id) / "master"):
        process.signal(found, signal.SIGKILL)


def test_a_policy_without_multiplexing_opens_none(paths, settings, make_record):
    record = make_record(multiplex=False)
    target = ssh_target(record, paths, settings)
    assert control_path(target) == ""
    room = Room(paths, record, target)
    asyncio.run(Masters(room).begin(record, settle=0))
    assert not room.begun


def test_a_key_in_an_agent_opens_it_by_way_of_the_agent(shared):
    target, _, _ = shared
    argv = master_argv(target, "/run/user/1000/odd dir/agent")
    assert argv[argv.index('IdentityAgent="/run/user/1000/odd dir/agent"') - 1] == "-o"
