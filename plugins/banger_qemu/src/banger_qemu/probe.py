"""Whether hardware virtualisation really boots a guest: tried once, with a deadline, remembered.

That ``/dev/kvm`` is there and opens proves nothing: nested virtualisation may be half there, and
guests then hang. So a kernel is booted that says one line and powers off.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from banger_core.api import BangerError, Context, write_atomic
from banger_qemu.command import base, kernel_command_line
from banger_qemu.machines import architecture, find_binary, host_architecture, without_name

KVM = Path("/dev/kvm")
MARK = b"@@ banger probe"
DEADLINE = 7.0

_GET_API_VERSION = 0xAE00  # KVM_GET_API_VERSION, linux/kvm.h
_API_VERSION = 12
_MEMORY = 128 << 20
_SAMPLE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found, why, when (seconds since the epoch), and for what (``key``)."""

    accel: Literal["kvm", "tcg"]
    reason: str
    time: float
    key: str = ""


_running: dict[Path, asyncio.Task[Verdict]] = {}


async def decide(kernel: Path, initrd: Path, cx: Context) -> Verdict:
    """Return the verdict for this host; boots a guest only when nothing is remembered.

    Those who ask meanwhile get the same answer.
    """
    if problem := device_problem():
        return Verdict(accel="tcg", reason=problem, time=time.time())
    place = verdict_file(cx)
    binary = find_binary(architecture(host_architecture()).binary, cx)
    key = _key(kernel, binary)
    known = remembered(cx)
    if known is not None and known.key == key:
        return known
    task = _running.get(place)
    if task is None or task.done():
        task = asyncio.create_task(_try(binary, kernel, initrd, key, cx))
        _running[place] = task
    # Whoever loses interest must not take the answer away from the others
    return await asyncio.shield(task)


def remembered(cx: Context) -> Verdict | None:
    """Return the last verdict, None when there is none."""
    try:
        data = json.loads(verdict_file(cx).read_text())
        return Verdict(**data) if data["accel"] in ("kvm", "tcg") else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def verdict_file(cx: Context) -> Path:
    """Where the verdict is kept."""
    return cx.state_dir / "accel.json"


def device_problem() -> str:
    """Say why ``/dev/kvm`` cannot even be tried; empty when it can."""
    try:
        handle = os.open(KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError as problem:
        return f"{KVM}: {problem.strerror}"
    try:
        version = fcntl.ioctl(handle, _GET_API_VERSION, 0)
    except OSError as problem:
        return f"{KVM} is no KVM device: {problem.strerror}"
    finally:
        os.close(handle)
    return "" if version == _API_VERSION else f"{KVM} speaks version {version} of its interface"


async def _try(binary: str, kernel: Path, initrd: Path, key: str, cx: Context) -> Verdict:
    cx.log.info("trying hardware virtualisation")
    problem = await _boot(_command_line(binary, kernel, initrd), cx)
    verdict = Verdict(
        accel="tcg" if problem else "kvm",
        reason=problem or "a guest booted under KVM",
        time=time.time(),
        key=key,
    )
    write_atomic(verdict_file(cx), json.dumps(asdict(verdict)))
    return verdict


async def _boot(command: tuple[str, ...], cx: Context) -> str:
    """Boot a guest under KVM; return what went wrong, empty when nothing did."""
    deadline = float(cx.settings.get("probe_deadline", DEADLINE))
    # timeout(1) ends QEMU even when the daemon is killed in between
    argv = ("timeout", "--kill-after=1", f"{deadline:g}", *command)
    begun = time.monotonic()
    try:
        output = await cx.run(argv, timeout=deadline + 1.5)
    except BangerError as problem:
        if time.monotonic() - begun >= deadline:
            return f"a guest did not boot under KVM in {deadline:g} s"
        return f"QEMU cannot use KVM: {without_name(problem.cause) or problem.summary}"
    return "" if MARK in output else "a guest ended under KVM before it was up"


def _command_line(binary: str, kernel: Path, initrd: Path) -> tuple[str, ...]:
    parts = architecture(host_architecture())
    return (
        binary,
        *base(parts, "kvm", memory=_MEMORY, vcpu=1)[1:],
        *("-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", f"{kernel_command_line(parts, 'kvm', None)} banger.probe"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
    )


def _key(kernel: Path, binary: str) -> str:
    """Everything whose change makes the verdict worthless: host, device, QEMU, guest kernel."""
    device, program = KVM.stat(), Path(binary).stat()
    digest = sha256(f"{platform.release()} {platform.version()}\n".encode())
    # The device node is made anew at each start of the host
    digest.update(f"{device.st_rdev} {device.st_ino} {device.st_ctime_ns}\n".encode())
    digest.update(f"{binary} {program.st_size} {program.st_mtime_ns}\n".encode())
    # Every image has a copy of its kernel: its beginning tells it, where its path does not
    digest.update(f"{kernel.stat().st_size}\n".encode())
    with kernel.open("rb") as file:
        digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
