"""The trial of hardware virtualisation: QEMU boots a kernel that says one line and powers off."""

from __future__ import annotations

from pathlib import Path

from banger_core.api import PROBE_WORD, Context, KvmVerdict, boot_probe, kvm_verdict
from banger_qemu.command import base, kernel_command_line
from banger_qemu.machines import architecture, find_binary, host_architecture, without_name

DEADLINE = 7.0

_MEMORY = 128 << 20


async def decide(kernel: Path, initrd: Path, cx: Context) -> KvmVerdict:
    """Return the verdict for this host; boots a guest only when nothing is remembered."""
    binary = find_binary(architecture(host_architecture()).binary, cx)

    async def boot() -> str:
        deadline = float(cx.settings.get("probe_deadline", DEADLINE))
        return await boot_probe(_command_line(binary, kernel, initrd), deadline, _reason, cx)

    return await kvm_verdict(kernel, binary, boot, cx)


def _reason(words: str) -> str:
    return f"QEMU cannot use KVM: {without_name(words)}"


def _command_line(binary: str, kernel: Path, initrd: Path) -> tuple[str, ...]:
    parts = architecture(host_architecture())
    return (
        binary,
        *base(parts, "kvm", memory=_MEMORY, vcpu=1)[1:],
        *("-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", f"{kernel_command_line(parts, 'kvm', None)} {PROBE_WORD}"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
    )
