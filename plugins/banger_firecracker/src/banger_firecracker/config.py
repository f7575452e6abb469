"""A VM as Firecracker's API wants it described: a pure function of what was decided."""

from __future__ import annotations

from typing import Any

from banger_core.api import NetPlan, UsageProblem, VmDirs, VmPlan

Call = tuple[str, str, dict[str, Any]]
"""A request: method, path, body."""

TAP = "tap0"
"""The guest's network interface on the host, in the VM's own network namespace."""

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
        # The guest tells the disks apart by their order: root first, seed second
        _drive("root", str(dirs.root_disk), read_only=False),
        _drive("seed", str(dirs.seed), read_only=True),
        *_network(plan.net),
        ("PUT", "/vsock", {"guest_cid": GUEST_CID, "uds_path": str(runtime / "vsock.sock")}),
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


def _drive(name: str, path: str, *, read_only: bool) -> Call:
    body = {
        "drive_id": name,
        "path_on_host": path,
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
    card = {"iface_id": "eth0", "host_dev_name": net.tap if net.kind == "tap" else TAP}
    if net.mac:
        card["guest_mac"] = net.mac
    return [("PUT", "/network-interfaces/eth0", card)]
