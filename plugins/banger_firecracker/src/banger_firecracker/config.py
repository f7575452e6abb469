"""A VM as Firecracker's API wants it described: a pure function of what was decided.

Disks and the socket for vsock, which a snapshot keeps by name, have names that belong to no VM:
they are looked for in Firecracker's working directory, which is each VM's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from banger_core.api import NetPlan, UsageProblem, VmDirs, VmPlan

Call = tuple[str, str, dict[str, Any]]
"""A request: method, path, body."""

TAP = "tap0"
"""The guest's network interface on the host, in the VM's own network namespace."""

CARD = "/network-interfaces/eth0"
"""Where the API has the guest's network card."""

VSOCK = "vsock.sock"
"""The socket for vsock, in Firecracker's working directory."""

GUEST_CID = 3
"""The guest's address for vsock; each VM has its own socket on the host, so all may have it."""

_MOST_VCPUS = 32

_KERNEL_WORDS = {
    # Without these the kernel waits long for a keyboard controller that is hardly there
    "amd64": "i8042.noaux i8042.nomux i8042.dumbkbd pci=off",
    "arm64": "keep_bootcon pci=off",
}


def api_calls(plan: VmPlan, dirs: VmDirs) -> tuple[Call, ...]:
    """Return the requests that describe the VM, in their order; starting it is not among them.

    Raises UsageProblem for a machine that Firecracker cannot be.
    """
    runtime = dirs.runtime
    if plan.vcpu > _MOST_VCPUS:
        raise UsageProblem(
            f"Firecracker cannot give a machine {plan.vcpu} CPUs",
            cause=f"{_MOST_VCPUS} is the most",
            hints=[f"--vcpu {_MOST_VCPUS}"],
        )
    calls: list[Call] = [
        ("PUT", "/metrics", {"metrics_path": str(runtime / "metrics.fifo")}),
        ("PUT", "/machine-config", {"vcpu_count": plan.vcpu, "mem_size_mib": plan.memory >> 20}),
        (
            "PUT",
            "/boot-source",
            {
                "kernel_image_path": str(dirs.kernel),
                "initrd_path": str(dirs.initrd),
                "boot_args": kernel_command_line(plan.kernel.architecture),
            },
        ),
        *(_drive(name, read_only=name == "seed") for name in _disks(dirs)),
        *_network(plan.net),
        ("PUT", "/vsock", {"guest_cid": GUEST_CID, "uds_path": VSOCK}),
        ("PUT", "/entropy", {}),
    ]
    return tuple(calls)


def kernel_command_line(architecture: str) -> str:
    """Return the guest kernel's parameters. Raises UsageProblem for an unknown processor."""
    if architecture not in _KERNEL_WORDS:
        raise UsageProblem(
            f"the driver firecracker cannot run {architecture!r} guests",
            cause=f"it knows: {', '.join(sorted(_KERNEL_WORDS))}",
            hints=["--driver qemu"],
        )
    # There is no way to switch such a machine off: it ends when its kernel starts anew
    words = "console=ttyS0 reboot=k panic=-1 quiet banger.end=reboot"
    return f"{words} {_KERNEL_WORDS[architecture]}"


def disk_files(dirs: VmDirs) -> dict[str, str]:
    """Return the files of the disks by the names that Firecracker knows them by."""
    return {_file(name): str(path) for name, path in _disks(dirs).items()}


def _disks(dirs: VmDirs) -> dict[str, Path]:
    # The guest tells them apart by their order
    disks = {"root": dirs.root_disk, "seed": dirs.seed}
    return disks if dirs.work_disk is None else {**disks, "work": dirs.work_disk}


def _file(name: str) -> str:
    return f"{name}.img"


def _drive(name: str, *, read_only: bool) -> Call:
    body = {
        "drive_id": name,
        "path_on_host": _file(name),
        "is_root_device": False,
        "is_read_only": read_only,
    }
    return ("PUT", f"/drives/{name}", body)


def _network(net: NetPlan) -> list[Call]:
    if net.kind == "none":
        return []
    if net.kind not in ("user", "tap"):
        raise UsageProblem(
            f"the driver firecracker cannot connect a network of kind {net.kind!r}",
            cause="it knows: none, tap, user",
            hints=["--network user", "--driver qemu"],
        )
    card = {
        "iface_id": CARD.rpartition("/")[2],
        "host_dev_name": net.tap if net.kind == "tap" else TAP,
    }
    if net.mac:
        card["guest_mac"] = net.mac
    return [("PUT", CARD, card)]
