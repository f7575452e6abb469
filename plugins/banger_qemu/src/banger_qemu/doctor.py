"""The doctor's check of QEMU and of hardware virtualisation."""

from __future__ import annotations

import errno
import os
import re
import time

from banger_core.api import (
    BangerError,
    Context,
    Finding,
    Level,
    kvm_problem,
    remembered_verdict,
)
from banger_qemu.machines import architecture, find_binary, host_architecture

_SUBJECT = "qemu"
_OLDEST = (7, 0)


class QemuCheck:
    """Implements ``contracts.DoctorCheck``."""

    async def check(self, cx: Context) -> list[Finding]:
        """Look at QEMU and at the remembered verdict on KVM; boots nothing."""
        return [await self._program(cx), self._acceleration(cx)]

    async def fix(self, cx: Context) -> list[Finding]:
        """Nothing here is safe to mend without asking."""
        del cx
        return []

    async def _program(self, cx: Context) -> Finding:
        try:
            binary = find_binary(architecture(host_architecture()).binary, cx)
            output = (await cx.run([binary, "--version"], timeout=10)).decode(errors="replace")
        except BangerError as problem:
            hint = problem.hints[0] if problem.hints else ""
            return _finding("fail", problem.summary, "VMs are run by QEMU", hint)
        found = re.search(r"(\d+)\.(\d+)(\.\d+)?", output)
        if found is None:
            return _finding("warn", f"{binary} does not tell its version", "VMs are run by QEMU")
        if (int(found[1]), int(found[2])) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            return _finding(
                "warn", f"QEMU {found[0]} is old", f"{oldest} and newer are known to work"
            )
        return _finding("pass", f"QEMU {found[0]} ({binary})")

    def _acceleration(self, cx: Context) -> Finding:
        why = (
            "with KVM guests run at full speed; without it they are emulated, several times slower"
        )
        if problem := kvm_problem():
            denied = problem.endswith(os.strerror(errno.EACCES))
            fix = "sudo usermod -aG kvm $USER, then log in again" if denied else ""
            return _finding("warn", f"software emulation: {problem}", why, fix)
        verdict = remembered_verdict(cx)
        if verdict is None:
            return _finding("pass", "/dev/kvm opens; the first VM will show whether it works")
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(verdict.time))
        if verdict.accel == "kvm":
            return _finding("pass", f"hardware virtualisation works (tried {when})")
        return _finding("warn", f"software emulation: {verdict.reason} (tried {when})", why)


def _finding(level: Level, message: str, why: str = "", fix: str = "") -> Finding:
    return Finding(level=level, subject=_SUBJECT, message=message, why=why, fix=fix)
