"""The connection that commands share: opened and ended by the daemon, harmless to commands."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from banger_core.engine.run import run
from banger_core.engine.ssh import close_master, identity, open_master, public_key, ssh_target


@pytest.fixture
def shared(paths, settings, start_sshd, make_record):
    """A target whose shared connection is ended after the test, whatever happened."""
    key = asyncio.run(identity(paths, settings, run))
    server = start_sshd(asyncio.run(public_key(key, run)))
    paths.known_hosts.write_text(f"web.vm {server.host_key}\n")
    record = make_record("web", server.port)
    paths.vm_runtime(record.id).mkdir(parents=True, mode=0o700)
    target = ssh_target(record, paths, settings)
    yield target, server, paths.vm_runtime(record.id) / "mux"
    asyncio.run(close_master(target, run))


def master_pid(ssh, target):
    said = ssh(target, first=("-O", "check")).stderr
    return int(re.search(rb"pid=(\d+)", said)[1])


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_commands_share_it_and_keep_their_manners(ssh, shared):
    target, _, socket = shared
    assert asyncio.run(open_master(target, run)) is True
    done = ssh(target, "echo out; echo err >&2; exit 7", first=("-v",))
    assert done.returncode == 7
    assert done.stdout == b"out\n"
    assert b"mux_client_request_session" in done.stderr
    assert b"Authenticat" not in done.stderr
    quiet = ssh(target, "echo out; echo err >&2; exit 255")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (255, b"out\n", b"err\n")
    assert len(ssh(target, "cat", input=b"x" * 1_000_000).stdout) == 1_000_000
    assert socket.stat().st_mode & 0o077 == 0


def test_opening_twice_keeps_the_first(ssh, shared):
    target, _, _ = shared
    assert asyncio.run(open_master(target, run)) is True
    pid = master_pid(ssh, target)
    assert asyncio.run(open_master(target, run)) is True
    assert master_pid(ssh, target) == pid


def test_closing_leaves_no_process_and_no_socket(ssh, shared, eventually):
    target, _, socket = shared
    asyncio.run(open_master(target, run))
    pid = master_pid(ssh, target)
    asyncio.run(close_master(target, run))
    eventually(lambda: gone(pid), "the master lives on")
    assert not socket.exists()
    asyncio.run(close_master(target, run))


def test_it_ends_with_the_guest(ssh, shared, eventually):
    target, server, socket = shared
    asyncio.run(open_master(target, run))
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
    for process in Path("/proc").glob("[0-9]*"):
        try:
            open_files = {str(handle.readlink()) for handle in (process / "fd").iterdir()}
            name = (process / "comm").read_text()
        except OSError:
            continue
        if held & open_files and name.startswith("sshd"):
            yield int(process.name)


def test_a_killed_master_is_replaced(ssh, shared):
    target, _, socket = shared
    asyncio.run(open_master(target, run))
    os.kill(master_pid(ssh, target), signal.SIGKILL)
    assert socket.exists()
    assert asyncio.run(open_master(target, run)) is True
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
    said = [child.communicate(timeout=30) for child in children]
    assert said == [(b"ok\n", b"")] * 5
    assert not socket.exists()


def test_a_guest_that_does_not_answer_gives_none(shared):
    target, server, socket = shared
    server.stop()
    assert asyncio.run(open_master(target, run, timeout=5)) is False
    assert not socket.exists()
    asyncio.run(close_master(target, run))


def test_a_policy_without_multiplexing_opens_none(paths, settings, make_record):
    target = ssh_target(make_record(multiplex=False), paths, settings)

    async def never(*_args, **_more):
        raise AssertionError("nothing is to be run")

    assert asyncio.run(open_master(target, never)) is False
    asyncio.run(close_master(target, never))
