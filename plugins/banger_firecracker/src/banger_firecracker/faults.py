"""What Firecracker refuses, as errors for people: one class, cause and hint for each kind.

Its API answers with a status and one sentence (``fault_message``), whose wording changes from
version to version; so what is looked for are the words that stay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from banger_core.api import (
    BangerError,
    Conflict,
    GuestFailed,
    HostNotReady,
    IntegrityError,
    NoSpace,
    UsageProblem,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is meant by a refusal whose path matches ``path`` and whose sentence ``words``."""

    path: str
    words: str
    error: type[BangerError]
    summary: str
    hints: tuple[str, ...] = ()


KINDS = (
    Kind("", r"No space left|ENOSPC|StorageFull", NoSpace, "the disk is full", ("df -h",)),
    Kind(
        "",
        r"Cannot allocate memory|os error 12\b|InsufficientMemory",
        HostNotReady,
        "the host has too little memory for this machine",
        ("--memory", "free -h"),
    ),
    Kind(
        "/network-interfaces|/snapshot/load|/actions",
        r"(?i)tap\b.*(busy|os error 16)|(busy|os error 16).*tap\b",
        Conflict,
        "another program uses the machine's network interface",
        ("ip -details link",),
    ),
    Kind(
        "/network-interfaces|/snapshot/load|/actions",
        r"(?i)\btap\b|/dev/net/tun|network device",
        HostNotReady,
        "the machine's network interface cannot be opened",
        ("ls -l /dev/net/tun", "ip -details link", "banger doctor"),
    ),
    Kind(
        "/vsock|/snapshot/load|/actions",
        r"(?i)(vsock|unix).*(in use|os error 98)",
        Conflict,
        "the machine's vsock socket is taken",
    ),
    Kind(
        "",
        r"(?i)/dev/kvm|\bKVM\b|CreateVm|VmSetup|VcpuCreate",
        HostNotReady,
        "hardware virtualisation (KVM) does not work here",
        ("ls -l /dev/kvm", "banger doctor", "--driver qemu"),
    ),
    Kind(
        "/snapshot",
        r"(?i)version|magic|\bcrc\b|checksum|deserializ|truncated|UnexpectedEof|file size|mismatch",
        IntegrityError,
        "the snapshot is damaged, or of another Firecracker",
        ("banger vm snapshot list",),
    ),
    Kind(
        "",
        r"(?i)not supported (before|after|prior)|microVM is not (running|paused)|already running",
        Conflict,
        "the machine's state does not allow that",
        ("banger vm show",),
    ),
    Kind(
        "/boot-source|/actions",
        r"(?i)kernel|initrd|Elf\b|boot",
        UsageProblem,
        "Firecracker cannot boot this kernel",
        ("banger kernel list", "--kernel"),
    ),
    Kind(
        "",
        r"Permission denied|os error 13\b|Operation not permitted|os error 1\b",
        HostNotReady,
        "Firecracker may not use a file of the machine",
        ("banger doctor",),
    ),
    Kind(
        "",
        r"No such file or directory|os error 2\b",
        HostNotReady,
        "a file of the machine is missing",
        ("banger doctor",),
    ),
    Kind(
        "/machine-config",
        r"(?i)vcpu|memory|smt|huge",
        UsageProblem,
        "Firecracker cannot be a machine of this size",
        ("--vcpu", "--memory"),
    ),
    Kind(
        "",
        r"Invalid request method and/or path|deserializing|unknown field|missing field",
        HostNotReady,
        "this Firecracker does not know a request of banger's",
        ("banger doctor",),
    ),
)


def fault(method: str, path: str, status: int, message: str) -> BangerError:
    """Return the error for a refusal; GuestFailed for one of no known kind."""
    cause = message.strip() or f"Firecracker answered {method} {path} with status {status}"
    for kind in KINDS:
        if re.match(kind.path, path) and re.search(kind.words, cause):
            return kind.error(kind.summary, cause=cause, hints=kind.hints)
    return GuestFailed(f"Firecracker refused {method} {path}", cause=cause)
