"""The doctor's check of Firecracker, of its version and of what its network needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from banger_core.api import (
    BangerError,
    Context,
    Finding,
    HostNotReady,
    Level,
    kvm_problem,
    remembered_verdict,
)
from banger_firecracker import jail
from banger_firecracker.machines import find_firecracker, find_slirp
from banger_firecracker.versions import DOWNLOAD, SAFE, read_version, unsafe, written

_SUBJECT = "firecracker"
_WHY = "VMs with --driver firecracker are run by it; others do without"


class FirecrackerCheck:
    """Implements ``contracts.DoctorCheck``."""

    async def check(self, cx: Context) -> list[Finding]:
        """Look at Firecracker, KVM and the network; boots nothing. Firecracker is one driver of
        several, so what it lacks fails nothing, unless it is there and not safe.
        """
        try:
            binary = find_firecracker(cx)
            version = await read_version(binary, cx)
        except HostNotReady as problem:
            return [_finding("warn", problem.summary, _WHY, problem.hints[0])]
        return [self._version(binary, version, cx), _kvm(cx), _network(cx), *_jail(cx)]

    async def fix(self, cx: Context) -> list[Finding]:
        """Nothing here is safe to mend without asking."""
        del cx
        return []

    def _version(self, binary: str, version: tuple[int, int, int], cx: Context) -> Finding:
        name = f"Firecracker {written(version)} ({binary})"
        problem = unsafe(version)
        if not problem:
            return _finding("pass", name)
        fix = f"install {written(SAFE)} or newer: {DOWNLOAD}"
        allowed = bool(cx.settings.get("allow_unsafe_version"))
        said = "is run although it is not safe" if allowed else "is not safe, and is not run"
        return _finding("warn" if allowed else "fail", f"{name} {said}", problem, fix)


def _kvm(cx: Context) -> Finding:
    if problem := kvm_problem():
        return _finding("warn", f"Firecracker cannot run guests: {problem}", _WHY, "--driver qemu")
    verdict = remembered_verdict(cx)
    if verdict is None:
        return _finding("pass", "/dev/kvm opens; the first VM will show whether it works")
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(verdict.time))
    if verdict.accel == "kvm":
        return _finding("pass", f"Firecracker runs guests (tried {when})")
    said = f"Firecracker cannot run guests: {verdict.reason} (tried {when})"
    return _finding("warn", said, _WHY, "--driver qemu")


def _network(cx: Context) -> Finding:
    why = "guests of Firecracker have the network `user` in a namespace of their own"
    try:
        find_slirp(cx)
    except HostNotReady as problem:
        return _finding("warn", problem.summary, why, problem.hints[0])
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return _finding("warn", "/dev/net/tun cannot be opened", why, "ls -l /dev/net/tun")
    if os.geteuid() != 0 and (name := _closed_namespaces()):
        return _finding("warn", f"users may make no namespaces ({name})", why, f"sysctl {name}")
    return _finding("pass", "user network: slirp4netns, /dev/net/tun and namespaces are there")


def _closed_namespaces() -> str:
    """Return the setting of the kernel that forbids user namespaces; empty when none does."""
    closed = {
        "user.max_user_namespaces": "0",
        "kernel.unprivileged_userns_clone": "0",
        "kernel.apparmor_restrict_unprivileged_userns": "1",
    }
    for name, value in closed.items():
        path = Path("/proc/sys", *name.split("."))
        if path.exists() and path.read_text().strip() == value:
            return name
    return ""


def _jail(cx: Context) -> list[Finding]:
    why = "[plugins.firecracker.jail] asks for Firecracker's jailer"
    try:
        settings = jail.settings_of(cx.settings)
        if settings is None:
            return []
        jailer = jail.check_jailer(settings)
    except BangerError as problem:
        return [_finding("fail", problem.summary, why)]
    if os.geteuid() != 0:
        return [_finding("fail", "only root can run Firecracker in its jailer", why)]
    return [_finding("pass", f"jailer: {jailer}")]


def _finding(level: Level, message: str, why: str = "", fix: str = "") -> Finding:
    return Finding(level=level, subject=_SUBJECT, message=message, why=why, fix=fix)
