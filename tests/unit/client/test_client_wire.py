"""Answers under limits: chunks in any cut, and nonsense that must not hurt."""

from __future__ import annotations

import json
import os
import socket
import threading

import pytest

from banger_core import __version__
from banger_core.client import wire
from banger_core.client.client import Client, url
from banger_core.client.wire import Response
from banger_core.errors import BangerError, Conflict, DaemonUnavailable, NotFound, UsageProblem
from banger_core.testing.fake_daemon import FakeDaemon, Stream, event


def never():
    raise AssertionError("nobody waits here")


def answer(data: bytes, cut: int = 0) -> Response:
    """A response whose peer sends ``data`` in pieces of ``cut`` bytes, and leaves."""
    ours, theirs = socket.socketpair()

    def send():
        with theirs:
            for start in range(0, len(data), cut or len(data) or 1):
                try:
                    theirs.sendall(data[start : start + (cut or len(data))])
                except OSError:
                    return

    sender = threading.Thread(target=send)
    sender.start()
    try:
        ours.settimeout(20)
        response = Response(ours, never)
        response._keep = (ours, sender)
    except BaseException:
        ours.close()
        sender.join()
        raise
    return response


class Whole:
    """Closes what ``answer`` opened."""

    def __init__(self, response: Response) -> None:
        self.response = response

    def __enter__(self) -> Response:
        return self.response

    def __exit__(self, *_: object) -> None:
        connection, sender = self.response._keep
        connection.close()
        sender.join()


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nX-Odd:  a:b \r\n\r\n"
    b"4;ext=1\r\nab\nc\r\nA\r\nd\n\n0123456\r\n0\r\nTrailer: x\r\n\r\n"
)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 7, 50])
def test_chunks_in_any_cut(cut):
    with Whole(answer(CHUNKED, cut)) as response:
        assert (response.status, response.headers["x-odd"]) == (200, "a:b")
        assert list(response.lines()) == [b"ab", b"cd", b"0123456"]


@pytest.mark.parametrize("cut", [0, 1])
def test_a_counted_body_ends_by_count_and_another_with_the_connection(cut):
    with Whole(answer(b"HTTP/1.1 201 \r\ncontent-length: 3\r\n\r\nabcd", cut)) as response:
        assert response.read() == b"abc"
    with Whole(answer(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", cut)) as response:
        assert response.read() == b"until the end"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b",
        b"HTTP/1.1 200 OK\r\n" + b"a" * (wire.HEAD_MAX + 10),
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * wire.HEAD_MAX,
    ],
    ids=["nothing", "empty", "ssh", "no-status", "cut", "long-line", "many-lines"],
)
def test_heads_that_are_none(data):
    with pytest.raises(DaemonUnavailable):
        answer(data)


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nabc",
        b"Content-Length: -5\r\n\r\nabc",
        b"Content-Length: 0x5\r\n\r\nabcde",
        b"Content-Length: 99999999999999999999\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcdef\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 2000 + b"\r\n",
    ],
)
def test_bodies_that_break_off_or_lie(body):
    with Whole(answer(b"HTTP/1.1 200 OK\r\n" + body)) as response, pytest.raises(DaemonUnavailable):
        response.read()


def test_documents_and_lines_are_bounded(monkeypatch):
    monkeypatch.setattr(wire, "DOCUMENT_MAX", 1000)
    monkeypatch.setattr(wire, "LINE_MAX", 1000)
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with Whole(answer(head + b"a" * 3000)) as response, pytest.raises(DaemonUnavailable):
        response.read()
    with Whole(answer(head + b"a" * 3000)) as response, pytest.raises(DaemonUnavailable):
        list(response.lines())


def test_urls_are_encoded():
    assert url("vms", "a b?") == "/v1/vms/a%20b%3F"
    assert url("x", a=True, b=False, c=None, d="", e=0, f="ü&") == "/v1/x?a=1&f=%C3%BC%26"
    for other_path in ("a/b", "..", ""):
        with pytest.raises(UsageProblem, match="no name and no id"):
            url("vms", other_path)


@pytest.fixture
def daemon(tmp_path):
    with FakeDaemon(tmp_path / "s") as fake:
        yield fake


def test_requests_say_who_asks_and_answers_who_answered(daemon):
    client = Client(daemon.socket)
    assert client.status()["version"] == __version__
    assert client.daemon_version == __version__


def test_the_daemons_own_errors_come_through(daemon):
    def busy(_):
        raise Conflict("busy", cause="why", hints=["wait"])

    daemon.answers["POST /v1/x"] = busy
    with pytest.raises(Conflict) as told:
        Client(daemon.socket).call("POST", url("x"), {})
    assert (told.value.cause, told.value.hints) == ("why", ("wait",))
    with pytest.raises(NotFound):
        Client(daemon.socket).get(url("nowhere"))


def test_a_silent_stream_is_waited_for_while_the_daemon_lives(daemon, monkeypatch):
    looked = threading.Event()
    daemon.answers["GET /v1/status"] = lambda _: looked.set() or {}

    def pieces():
        yield event("operation.started")
        assert looked.wait(20)
        yield event("operation.done")

    daemon.answers["POST /v1/x"] = lambda _: Stream(pieces())
    monkeypatch.setattr("banger_core.client.client.IDLE", 0.05)
    kinds = [each["kind"] for each in Client(daemon.socket).events("POST", url("x"))]
    assert kinds == ["operation.started", "operation.done"]


def test_a_daemon_that_never_answers_is_given_up(daemon):
    leave = threading.Event()
    daemon.answers["GET /v1/x"] = lambda _: leave.wait(20)
    with pytest.raises(DaemonUnavailable, match="does not answer"):
        Client(daemon.socket).call("GET", url("x"), timeout=0.1)
    leave.set()


def test_only_a_socket_of_ours_is_spoken_to(tmp_path, daemon, monkeypatch):
    plain = tmp_path / "plain"
    plain.touch()
    link = tmp_path / "link"
    link.symlink_to(daemon.socket)
    for path in (plain, link):
        with pytest.raises(DaemonUnavailable, match="cannot be trusted"):
            Client(path).status()
    with pytest.raises(DaemonUnavailable, match="not running"):
        Client(tmp_path / "missing").status()
    other = os.geteuid() + 1
    monkeypatch.setattr("banger_core.client.client.geteuid", lambda: other)
    with pytest.raises(DaemonUnavailable, match="cannot be trusted"):
        Client(daemon.socket).status()


def test_the_peer_is_checked_beyond_the_path(daemon, monkeypatch):
    """Between the look at the path and the connection it may be swapped."""
    import banger_core.client.client as module

    answers = iter([os.geteuid(), os.geteuid() + 1])
    monkeypatch.setattr(module, "geteuid", lambda: next(answers))
    with pytest.raises(DaemonUnavailable, match="cannot be trusted"):
        Client(daemon.socket).status()


def test_every_error_survives_the_wire():
    for kind in (Conflict, DaemonUnavailable):
        before = kind("a", cause="b", hints=["c"])
        after = BangerError.from_dict(json.loads(json.dumps(before.to_dict())))
        assert type(after) is kind
