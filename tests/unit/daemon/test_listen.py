from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from banger_core.daemon.listen import bind, unbind
from banger_core.daemon.peer import allowed
from banger_core.daemon.watch import Watch
from banger_core.errors import DaemonUnavailable, HostNotReady


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory(prefix="bl-") as directory:
        yield Path(directory) / "run" / "s"


def test_the_socket_is_private_from_birth(path, monkeypatch):
    monkeypatch.setattr(os, "chmod", lambda *_: pytest.fail("chmod comes too late"))
    listener = bind(path)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    unbind(path, listener)
    assert not path.exists()


def test_a_stale_socket_is_replaced(path):
    bind(path).close()
    listener = bind(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
    unbind(path, listener)


def test_a_living_socket_is_never_taken(path):
    listener = bind(path)
    with pytest.raises(DaemonUnavailable):
        bind(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
    unbind(path, listener)


def test_what_is_no_socket_is_left_alone(path):
    path.parent.mkdir(mode=0o700)
    path.write_text("precious")
    with pytest.raises(HostNotReady):
        bind(path)
    assert path.read_text() == "precious"


def test_a_path_too_long_for_a_socket_is_an_error(path):
    with pytest.raises(HostNotReady, match="too long"):
        bind(path.parent / ("x" * 120) / path.name)
    # A VM's own sockets lie below it, and need room as well
    with pytest.raises(HostNotReady, match="too long"):
        bind(path.parent / ("x" * 60) / path.name)
    assert list(path.parent.glob("x*")) == []


def test_peers_are_this_user_or_root(monkeypatch):
    one, other = socket.socketpair()
    with one, other:
        assert allowed(one)
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
        assert allowed(one) == (os.getuid() == 0)


def test_the_socket_of_another_is_not_removed(path):
    listener = bind(path)
    path.unlink()
    other = bind(path)
    unbind(path, listener)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
    unbind(path, other)
    assert not path.exists()


def test_removed_and_replaced_files_are_noticed(path):
    path.parent.mkdir(mode=0o700)
    other = path.with_name("other")
    path.write_text("")
    watch = Watch((path, other))
    assert watch.lost() is None
    other.write_text("")
    assert watch.lost() == other
    other.rename(path)
    assert watch.lost() == path
    path.unlink()
    path.parent.rmdir()
    assert asyncio.run(asyncio.wait_for(watch.wait(), 30)) == path
