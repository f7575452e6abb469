"""The client of the API: answers that make no sense, and what the real Firecracker refuses."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from banger_core.api import (
    Conflict,
    GuestFailed,
    HostNotReady,
    IntegrityError,
    NoSpace,
    UsageProblem,
)
from banger_firecracker import rest
from banger_firecracker.faults import KINDS, fault
from banger_firecracker.rest import Api


@asynccontextmanager
async def serving(path, answer):
    served = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if not answer:
            await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        served.set()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield Api(path)
    finally:
        server.close()
        await served.wait()


def answered(banger_paths, answer):
    async def ask():
        async with serving(banger_paths.runtime / "s", answer) as api:
            return await api.get("/version")

    return asyncio.run(ask())


def test_an_answer_is_json(banger_paths):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    assert answered(banger_paths, head + b'7\r\n\r\n{"a":1}') == {"a": 1}
    assert answered(banger_paths, b"HTTP/1.1 204 \r\n\r\n") is None


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{,}",
        b"HTTP/1.1 200 OK\r\n" + b"x" * (1 << 17),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(banger_paths, answer):
    with pytest.raises(GuestFailed, match="makes no sense"):
        answered(banger_paths, answer)


def test_silence_is_an_error(banger_paths, monkeypatch):
    async def ask():
        async with serving(banger_paths.runtime / "s", b"") as api:
            await api.request("GET", "/version", None, limit=0.1)

    with pytest.raises(GuestFailed, match="does not answer"):
        asyncio.run(ask())
    assert rest.ANSWER_LIMIT == 10.0


@pytest.mark.parametrize(
    ("method", "path", "message", "kind"),
    [
        ("PUT", "/snapshot/create", "No space left on device (os error 28)", NoSpace),
        ("PUT", "/actions", "Cannot allocate memory (os error 12)", HostNotReady),
        ("PUT", "/network-interfaces/eth0", "Open tap device failed: tap0 busy", Conflict),
        ("PUT", "/actions", "Error creating KVM object: (os error 13)", HostNotReady),
        ("PUT", "/snapshot/load", "Failed to restore: invalid magic value", IntegrityError),
        ("PUT", "/vsock", "Cannot bind the Unix socket: in use (os error 98)", Conflict),
        ("PUT", "/entropy", "Invalid request method and/or path: PUT entropy.", HostNotReady),
        ("PUT", "/entropy", "something new", GuestFailed),
        ("PUT", "/entropy", "", GuestFailed),
    ],
)
def test_refusals_have_a_kind_a_cause_and_a_hint(method, path, message, kind):
    problem = fault(method, path, 400, message)
    assert type(problem) is kind
    assert problem.cause
    assert problem.summary
    known = kind is not GuestFailed
    assert bool(problem.hints) == known or path == "/vsock"


def test_every_kind_says_what_to_try():
    assert all(kind.hints or "vsock" in kind.path for kind in KINDS)


def changed(spec, where, **fields):
    calls = [
        [method, path, {**body, **fields} if path == where else body]
        for method, path, body in spec.data["calls"]
    ]
    return replace(spec, data={**spec.data, "calls": calls})


@pytest.mark.parametrize(
    ("where", "fields", "kind", "words"),
    [
        ("/machine-config", {"mem_size_mib": 0}, UsageProblem, "size"),
        ("/machine-config", {"mem_size_mib": 1 << 28}, HostNotReady, "memory"),
        ("/boot-source", {"kernel_image_path": "/nowhere/vmlinux"}, UsageProblem, "kernel"),
        ("/boot-source", {"kernel_image_path": "/etc/passwd"}, UsageProblem, "kernel"),
        ("/drives/root", {"path_on_host": "/nowhere/disk"}, HostNotReady, "missing"),
        ("/network-interfaces/eth0", {"host_dev_name": "lo"}, HostNotReady, "network"),
        ("/vsock", {"uds_path": "/nowhere/vsock"}, HostNotReady, "missing"),
        ("/metrics", {"metrics_path": "/nowhere/metrics"}, HostNotReady, "missing"),
    ],
)
def test_the_real_one_refuses(driver, spec, cx, where, fields, kind, words):
    with pytest.raises(kind) as caught:
        asyncio.run(driver.start(changed(spec, where, **fields), cx))
    assert words in caught.value.summary, caught.value.cause
    assert caught.value.cause


def test_the_real_one_refuses_what_comes_too_late(driver, spec, cx):
    async def late():
        machine = await driver.start(spec, cx)
        try:
            with pytest.raises(Conflict) as caught:
                await machine._call("PUT", "/entropy", {})
        finally:
            await machine.kill()
        return caught.value

    assert "state" in asyncio.run(late()).summary


def test_a_port_that_is_taken_costs_nothing(driver, plan, dirs, spec, cx):
    from banger_firecracker.beside import listen

    with listen(plan.net.forwards[0]), pytest.raises(Conflict) as caught:
        asyncio.run(driver.start(spec, cx))
    assert "cannot be published" in caught.value.summary
    assert not cx.spawned
