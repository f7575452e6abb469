"""The trial of hardware virtualisation: Firecracker boots a kernel that says one line and ends."""

from __future__ import annotations

import json
from pathlib import Path

from banger_core.api import PROBE_WORD, Context, KvmVerdict, boot_probe, kvm_verdict, write_atomic
from banger_firecracker.config import kernel_command_line
from banger_firecracker.machines import find_firecracker, host_architecture

DEADLINE = 7.0

_MEMORY_MIB = 128


async def decide(kernel: Path, initrd: Path, cx: Context) -> KvmVerdict:
    """Return the verdict for this host; boots a guest only when nothing is remembered."""
    binary = find_firecracker(cx)

    async def boot() -> str:
        config = cx.state_dir / "probe.json"
        write_atomic(config, json.dumps(machine(kernel, initrd)))
        argv = (binary, "--no-api", "--id", "banger-probe", "--config-file", str(config))
        deadline = float(cx.settings.get("probe_deadline", DEADLINE))
        return await boot_probe(argv, deadline, _reason, cx)

    return await kvm_verdict(kernel, binary, boot, cx)


def machine(kernel: Path, initrd: Path) -> dict[str, object]:
    """Return the machine of the trial, as in a configuration file of Firecracker; pure."""
    words = kernel_command_line(host_architecture())
    return {
        "machine-config": {"vcpu_count": 1, "mem_size_mib": _MEMORY_MIB},
        "boot-source": {
            "kernel_image_path": str(kernel),
            "initrd_path": str(initrd),
            "boot_args": f"{words} {PROBE_WORD}",
        },
        "drives": [],
    }


def _reason(words: str) -> str:
    return f"Firecracker cannot use KVM: {words}"
