"""Sockets that can be ended at any moment, and that take what has come."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpcore
import pytest
from oci_registries import make_certificate

from banger_oci.wire import Aborted, Wire

PATIENCE = 90.0


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def listening(address="127.0.0.1", **options):
    with socket.create_server((address, 0), **options) as server:
        yield server, server.getsockname()[1]


@contextmanager
def working(work):
    """Run ``work`` in a thread that has to end by the end of the block; yields its error."""
    errors = []

    def run():
        try:
            work()
        except (OSError, httpcore.NetworkError, Aborted) as problem:
            errors.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield errors
    thread.join(PATIENCE)
    assert not thread.is_alive()


@contextmanager
def closed_at_the_end(wire):
    try:
        yield wire
    finally:
        for open_socket in list(wire._sockets):
            wire.forget(open_socket)


def connecting_to(port):
    """Connections to a port whose handshake is not answered (Linux: state 02, SYN-SENT)."""
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    wanted = f"0100007F:{port:04X}"
    return sum(1 for line in lines if line.split()[2:4] == [wanted, "02"])


def test_the_next_address_is_tried_when_one_refuses():
    with (
        listening("127.0.0.2") as (server, port),
        closed_at_the_end(Wire({"two.example": ["127.0.0.1", "127.0.0.2"]})) as wire,
    ):
        stream = wire.connect_tcp("two.example", port, PATIENCE)
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"hello")
            assert stream.read(1, PATIENCE) == b"hello"


def test_the_last_refusal_is_told_when_all_refuse():
    # Somebody has that port, and does not listen
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        second.bind(("127.0.0.2", port))
        wire = Wire({"one.example": ["127.0.0.2", "127.0.0.1"]})
        with pytest.raises(httpcore.ConnectError, match="refused"):
            wire.connect_tcp("one.example", port, PATIENCE)


def test_connecting_ends_when_it_is_aborted():
    with ExitStack() as stack:
        _, port = stack.enter_context(listening(backlog=0))
        # Nobody accepts: what does not fit the queue any more stays unanswered
        fillers = 0
        while not connecting_to(port):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers += 1
            assert fillers < 50
        waiting = connecting_to(port)
        wire = Wire({"full.example": ["127.0.0.1"]})
        with working(lambda: wire.connect_tcp("full.example", port, 3600.0)) as errors:
            until(lambda: connecting_to(port) > waiting)
            wire.abort()
        assert isinstance(errors[0], httpcore.ConnectError | Aborted)


def test_reading_ends_when_it_is_aborted():
    with (
        listening() as (server, port),
        closed_at_the_end(Wire({"one.example": ["127.0.0.1"]})) as wire,
    ):
        stream = wire.connect_tcp("one.example", port, PATIENCE)
        peer, _ = server.accept()
        got = []
        with peer, working(lambda: got.extend(iter(lambda: stream.read(1, 3600.0), b""))):
            peer.sendall(b"first")
            until(lambda: got)
            wire.abort()
        assert b"".join(got) == b"first"


def test_nothing_is_opened_once_it_is_aborted():
    wire = Wire({"one.example": ["127.0.0.1"]})
    wire.abort()
    with listening() as (_, port), pytest.raises(Aborted):
        wire.connect_tcp("one.example", port, PATIENCE)
    assert wire.aborted


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@contextmanager
def encrypted(certificate):
    """Both ends of a TLS connection: our stream, its wire, and the server's socket."""
    key, chain = certificate
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(chain, key)
    here = ssl.create_default_context(cafile=chain)
    with (
        listening() as (server, port),
        closed_at_the_end(Wire({"127.0.0.1": ["127.0.0.1"]})) as wire,
    ):
        plain = wire.connect_tcp("127.0.0.1", port, PATIENCE)
        accepted, _ = server.accept()
        ends = []
        with working(lambda: ends.append(there.wrap_socket(accepted, server_side=True))):
            stream = plain.start_tls(here, "127.0.0.1", PATIENCE)
        with ends[0] as end:
            yield stream, wire, end


def test_records_that_have_come_are_read_together(certificate):
    records = [bytes([number]) * 4096 for number in range(8)]
    with encrypted(certificate) as (stream, wire, end):
        for record in records:
            end.sendall(record)
        (open_socket,) = wire._sockets
        # As they are on the wire: a header and a checksum more for each
        peek = socket.socket.recv
        until(lambda: len(peek(open_socket, 1 << 20, socket.MSG_PEEK)) > sum(map(len, records)))
        assert stream.read(1, PATIENCE) == b"".join(records)


def test_the_end_of_the_stream_is_told_after_what_came_before_it(certificate):
    with encrypted(certificate) as (stream, _, end):
        end.sendall(b"last words")
        end.close()
        assert stream.read(1, PATIENCE) == b"last words"
        assert stream.read(1, PATIENCE) == b""


def test_what_an_aborted_reader_gets_was_deciphered(certificate):
    with encrypted(certificate) as (stream, wire, end):
        end.sendall(b"plain text")
        (open_socket,) = wire._sockets
        until(lambda: socket.socket.recv(open_socket, 1 << 20, socket.MSG_PEEK))
        wire.abort()
        assert stream.read(1, PATIENCE) in (b"", b"plain text")
        assert stream.read(1, PATIENCE) == b""


def test_silence_is_a_timeout(certificate):
    with encrypted(certificate) as (stream, _, _end), pytest.raises(httpcore.ReadTimeout):
        stream.read(1, 0.05)


def test_a_server_that_proves_to_be_another_is_refused(certificate):
    key, chain = certificate
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(chain, key)
    here = ssl.create_default_context(cafile=chain)
    with listening() as (server, port):
        wire = Wire({"127.0.0.1": ["127.0.0.1"]})
        plain = wire.connect_tcp("127.0.0.1", port, PATIENCE)
        accepted, _ = server.accept()
        with (
            working(lambda: there.wrap_socket(accepted, server_side=True)) as errors,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            plain.start_tls(here, "other.example", PATIENCE)
        accepted.close()
        assert isinstance(errors[0], OSError)
        assert wire._sockets == set()
