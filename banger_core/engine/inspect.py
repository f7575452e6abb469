"""Looking at VMs that run: how they are, what listens in them, what they use."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from banger_core.engine import process
from banger_core.engine.ssh import wait_for_ssh
from banger_core.errors import BangerError, Conflict
from banger_core.guest.reports import GuestReport, Listener, read_listeners, read_report
from banger_core.model import GUEST_SSH_PORT, ProcessId, VmRecord, VmState
from banger_core.sizes import format_size

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

SSH_PATIENCE = 10.0
"""Seconds that a guest may take to greet over SSH before it counts as unwell."""

CLOCK_TOLERANCE = 5.0
"""Seconds that a guest's clock may be off; asking takes part of that on a busy host."""

FULL = 0.95
"""A file system with less room than the rest of this is full."""

GROWN = 0.9
"""A file system that is smaller than this part of its disk has not grown with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUse:
    """What a VMM costs the host: CPU seconds since it began, and bytes of memory that it holds."""

    cpu: float
    memory: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a VM, at ``moment`` (monotonic seconds)."""

    moment: float
    host: HostUse
    guest: GuestReport | None
    problem: str


def require_running(record: VmRecord) -> None:
    """Raise Conflict unless the VM runs: then there is somebody to ask."""
    if record.state is not VmState.RUNNING:
        verb = "resume" if record.state is VmState.PAUSED else "start"
        raise Conflict(
            f"{record.name} is {record.state}",
            cause="only a running machine can be asked",
            hints=[f"banger vm {verb} {record.name}"],
        )


async def health(engine: Engine, ref: str) -> dict[str, Any]:
    """Check a VM: ``checks`` lists each with ``name``, ``ok`` and what was seen. One that does not
    run is not well.
    """
    record = engine.records.vm(ref)
    checks = [_check("state", record.state is VmState.RUNNING, record.problem or record.state)]
    if record.state is VmState.RUNNING and record.process is not None:
        ssh, guest = await asyncio.gather(_check_ssh(record), _check_guest(engine, record))
        checks += [ssh, *guest]
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state.value,
        "healthy": all(check["ok"] for check in checks),
        "checks": checks,
    }


async def ports(engine: Engine, ref: str) -> dict[str, Any]:
    """What listens inside a VM, each with its address on the host, None where nothing leads there.

    Raises Conflict when it does not run, GuestFailed and HostileInput.
    """
    record = engine.records.vm(ref)
    require_running(record)
    found = read_listeners(await engine.machines.helpers.of(record).ask("ports"))
    rows = [
        {
            "protocol": each.protocol,
            "address": each.address,
            "port": each.port,
            "process": each.process,
            "pid": each.pid,
            "host": _host_end(record, each),
        }
        for each in found
        if (each.protocol, each.port) != ("tcp", GUEST_SSH_PORT)
    ]
    return {"id": record.id, "name": record.name, "ports": rows}


async def stats(
    engine: Engine, records: Sequence[VmRecord], interval: float
) -> list[dict[str, Any]]:
    """What VMs use: each is looked at twice, ``interval`` seconds apart. One that does not run, or
    stops meanwhile, has only its state.
    """
    return list(await asyncio.gather(*(_use(engine, record, interval) for record in records)))


async def _use(engine: Engine, record: VmRecord, interval: float) -> dict[str, Any]:
    who = {"id": record.id, "name": record.name, "state": record.state.value}
    if record.process is None or record.state not in (VmState.RUNNING, VmState.PAUSED):
        return {**who, "problem": f"it is {record.state}"}
    try:
        first = await _sample(engine, record)
        await asyncio.sleep(max(0.0, first.moment + interval - time.monotonic()))
        return {**who, **_difference(record, first, await _sample(engine, record))}
    except ProcessLookupError:
        return {**who, "problem": "it has just ended"}


async def _sample(engine: Engine, record: VmRecord) -> Sample:
    assert record.process is not None
    guest, problem = None, ""
    if record.state is VmState.RUNNING:
        try:
            guest = read_report(await engine.machines.helpers.of(record).ask("stats"))
        except BangerError as failure:
            problem = f"{failure.summary}: {failure.cause}"
    return Sample(time.monotonic(), host_use(record.process), guest, problem)


def host_use(vmm: ProcessId) -> HostUse:
    """Return what a process uses (proc(5)). Raises ProcessLookupError when it has ended."""
    try:
        fields = Path(f"/proc/{vmm.pid}/stat").read_bytes().rpartition(b")")[2].split()
    except FileNotFoundError:
        raise ProcessLookupError(vmm.pid) from None
    if not process.alive(vmm):
        raise ProcessLookupError(vmm.pid)
    ticks = int(fields[11]) + int(fields[12])
    return HostUse(
        cpu=ticks / os.sysconf("SC_CLK_TCK"), memory=int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    )


def _difference(record: VmRecord, first: Sample, last: Sample) -> dict[str, Any]:
    passed = max(last.moment - first.moment, 1e-3)
    use: dict[str, Any] = {
        "interval": round(passed, 3),
        # Of one CPU of the host, as top(1) counts
        "cpu_percent": round(100 * (last.host.cpu - first.host.cpu) / passed, 1),
        "host_memory": last.host.memory,
        "vcpu": record.plan.vcpu,
        "memory": record.plan.memory,
        "guest": None,
        "problem": last.problem,
    }
    if first.guest is not None and last.guest is not None:
        use["guest"] = _guest_use(first.guest, last.guest, passed)
    return use


def _guest_use(first: GuestReport, last: GuestReport, passed: float) -> dict[str, Any]:
    def rate(before: int, after: int) -> int:
        return int(max(0, after - before) / passed)

    total = last.cpu_total - first.cpu_total
    busy = max(0.0, last.cpu_busy - first.cpu_busy)
    return {
        # Of all its CPUs together
        "cpu_percent": round(min(100.0, 100 * busy / total), 1) if total > 0 else 0.0,
        "load": list(last.load),
        "uptime": last.uptime,
        "memory": last.memory,
        "memory_used": max(0, last.memory - last.memory_available),
        "swap": last.swap,
        "swap_used": max(0, last.swap - last.swap_free),
        "disk_read": last.disk_read,
        "disk_written": last.disk_written,
        "disk_read_rate": rate(first.disk_read, last.disk_read),
        "disk_write_rate": rate(first.disk_written, last.disk_written),
        "received": last.received,
        "sent": last.sent,
        "receive_rate": rate(first.received, last.received),
        "send_rate": rate(first.sent, last.sent),
        "filesystems": [
            {"place": each.place, "size": each.size, "used": max(0, each.size - each.available)}
            for each in last.filesystems
        ],
    }


async def _check_ssh(record: VmRecord) -> dict[str, Any]:
    host, port = record.plan.net.ssh
    vmm = record.process
    assert vmm is not None
    try:
        await wait_for_ssh(host, port, SSH_PATIENCE, lambda: process.alive(vmm), None, record.name)
    except BangerError as problem:
        return _check("ssh", False, problem.cause)
    return _check("ssh", True, f"{host}:{port} answers")


async def _check_guest(engine: Engine, record: VmRecord) -> list[dict[str, Any]]:
    began = time.time()
    try:
        report = read_report(await engine.machines.helpers.of(record).ask("health"))
    except BangerError as problem:
        return [_check("helper", False, problem.cause)]
    ended = time.time()
    off = max(began - report.clock, report.clock - ended, 0.0)
    used = report.memory - report.memory_available
    sizes = {"/": record.plan.disk_size, "/root": record.plan.work_disk}
    checks = [
        _check("helper", True, f"answers in {1000 * (ended - began):.0f} ms"),
        _check("init", bool(report.init), _INITS.get(report.init, "it is not there yet")),
        _check("clock", off <= CLOCK_TOLERANCE, f"off by {off:.1f} s" if off else "right"),
        _check(
            "memory",
            used < FULL * report.memory or not report.memory,
            f"{format_size(max(0, used))} of {format_size(report.memory)} used",
        ),
    ]
    for each in report.filesystems:
        room = f"{format_size(each.available)} of {format_size(each.size)} free"
        ok, said = each.available > (1 - FULL) * each.size, room
        if not each.writable:
            ok, said = False, f"{room}, read-only"
        elif each.size < GROWN * sizes.get(each.place, 0):
            ok, said = False, f"{room}, smaller than its disk"
        checks.append(_check(each.place, ok, said))
    return checks


_INITS = {"image": "the image's own", "own": "banger's"}


def _check(name: str, ok: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": str(detail)}


def _host_end(record: VmRecord, each: Listener) -> str | None:
    net = record.plan.net
    if each.address.startswith("127.") or each.address == "::1":
        return None
    if net.kind == "tap":
        return _joined(net.guest_address.partition("/")[0], each.port)
    for forward in net.forwards:
        if (forward.protocol, forward.guest_port) == (each.protocol, each.port):
            return _joined(forward.host_address, forward.host_port)
    return None


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
