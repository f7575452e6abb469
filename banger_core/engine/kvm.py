"""Whether hardware virtualisation really boots a guest: tried once, with a deadline, remembered.

That ``/dev/kvm`` is there and opens proves nothing: nested virtualisation may be half there, and
guests then hang. So each driver boots a kernel that says one line and ends; here is what they
share. The device itself is Linux's, Documentation/virt/kvm/api.rst.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import platform
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from banger_core.errors import BangerError
from banger_core.store.content import write_atomic

if TYPE_CHECKING:
    from banger_core.contracts import Context

KVM = Path("/dev/kvm")

PROBE_WORD = "banger.probe"
"""On its command line, this makes banger's initramfs say ``PROBE_MARK`` and power off."""

PROBE_MARK = b"@@ banger probe"

_GET_API_VERSION = 0xAE00  # KVM_GET_API_VERSION, linux/kvm.h
_API_VERSION = 12
_SAMPLE = 1 << 20
_MODEL = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class KvmVerdict:
    """What was found, why, when (seconds since the epoch), and for what (``key``)."""

    accel: Literal["kvm", "tcg"]
    reason: str
    time: float
    key: str = ""


_running: dict[Path, asyncio.Task[KvmVerdict]] = {}


async def kvm_verdict(
    kernel: Path, program: str, boot: Callable[[], Awaitable[str]], cx: Context
) -> KvmVerdict:
    """Return the verdict for this host, the VMM ``program`` (its path) and the guest's ``kernel``.

    ``boot`` is asked only when nothing is remembered: it boots a guest and returns what went
    wrong, empty when nothing did. Those who ask meanwhile get the same answer.
    """
    if problem := kvm_problem():
        return KvmVerdict(accel="tcg", reason=problem, time=time.time())
    place = _verdict_file(cx)
    key = _key(kernel, program)
    known = remembered_verdict(cx)
    if known is not None and known.key == key:
        return known
    task = _running.get(place)
    if task is None or task.done():
        task = asyncio.create_task(_try(boot, key, cx))
        _running[place] = task
    # Whoever loses interest must not take the answer away from the others
    return await asyncio.shield(task)


def remembered_verdict(cx: Context) -> KvmVerdict | None:
    """Return the last verdict of that plugin's driver, None when there is none."""
    try:
        data = json.loads(_verdict_file(cx).read_text())
        return KvmVerdict(**data) if data["accel"] in ("kvm", "tcg") else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def host_processor() -> str:
    """Return the model of this host's processor as its kernel calls it, or its kind."""
    try:
        found = _MODEL.search(Path("/proc/cpuinfo").read_text("utf-8", "replace"))
    except OSError:
        found = None
    return found[1].strip() if found else os.uname().machine


def kvm_problem() -> str:
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


async def boot_probe(
    argv: tuple[str, ...], deadline: float, explain: Callable[[str], str], cx: Context
) -> str:
    """Run a VMM that boots a guest with ``PROBE_WORD``, and return what went wrong, empty when
    its console (stdout) showed that the guest ran. ``deadline`` in seconds; ``explain`` makes a
    reason of the last words of a VMM that failed.
    """
    # timeout(1) ends the VMM even when the daemon is killed in between
    bounded = ("timeout", "--kill-after=1", f"{deadline:g}", *argv)
    begun = time.monotonic()
    try:
        output = await cx.run(bounded, timeout=deadline + 1.5)
    except BangerError as problem:
        if time.monotonic() - begun >= deadline:
            return f"a guest did not boot under KVM in {deadline:g} s"
        return explain(problem.cause or problem.summary)
    return "" if PROBE_MARK in output else "a guest ended under KVM before it was up"


async def _try(boot: Callable[[], Awaitable[str]], key: str, cx: Context) -> KvmVerdict:
    cx.log.info("trying hardware virtualisation")
    problem = await boot()
    verdict = KvmVerdict(
        accel="tcg" if problem else "kvm",
        reason=problem or "a guest booted under KVM",
        time=time.time(),
        key=key,
    )
    write_atomic(_verdict_file(cx), json.dumps(asdict(verdict)))
    return verdict


def _verdict_file(cx: Context) -> Path:
    return cx.state_dir / "accel.json"


def _key(kernel: Path, program: str) -> str:
    """Everything whose change makes the verdict worthless: host, device, VMM, guest kernel."""
    device, binary = KVM.stat(), Path(program).stat()
    digest = sha256(f"{platform.release()} {platform.version()}\n".encode())
    # The device node is made anew at each start of the host
    digest.update(f"{device.st_rdev} {device.st_ino} {device.st_ctime_ns}\n".encode())
    digest.update(f"{program} {binary.st_size} {binary.st_mtime_ns}\n".encode())
    # Every image has a copy of its kernel: its beginning tells it, where its path does not
    digest.update(f"{kernel.stat().st_size}\n".encode())
    with kernel.open("rb") as file:
        digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
