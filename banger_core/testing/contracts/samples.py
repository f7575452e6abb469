"""Values that suites give to implementations."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from banger_core.model import (
    GUEST_SSH_PORT,
    Event,
    Forward,
    GuestPin,
    ImagePin,
    KernelPin,
    NetPlan,
    VmDirs,
    VmPlan,
    VmRecord,
    VmState,
)
from banger_core.networks.loopback import pick

if TYPE_CHECKING:
    from pathlib import Path

VM_ID = "0123456789ab"
_DIGEST = "sha256:" + "0" * 64


def sample_net(*, port: int = 2222, address: str = "127.64.0.1") -> NetPlan:
    """A plan of the user network."""
    return NetPlan(
        network="user",
        kind="user",
        mac="52:54:00:12:34:56",
        host_address=address,
        guest_address="10.0.2.15/24",
        gateway="10.0.2.2",
        nameserver="10.0.2.3",
        forwards=(Forward(host_address=address, host_port=port, guest_port=GUEST_SSH_PORT),),
    )


def free_net() -> NetPlan:
    """A plan of the user network whose address can be bound now, and is no other test's."""
    address, port = pick(secrets.token_hex(6), ())
    return sample_net(address=address, port=port)


def sample_plan(*, driver: str, disk_format: str = "raw", net: NetPlan | None = None) -> VmPlan:
    """The plan of a small VM."""
    return VmPlan(
        id=VM_ID,
        name="sample",
        image=ImagePin(
            source="fake",
            ref="fake://small",
            name="small",
            digest=_DIGEST,
            architecture="amd64",
        ),
        kernel=KernelPin(
            provider="fake",
            name="fake-kernel",
            version="1",
            distro="fake",
            architecture="amd64",
            digest=_DIGEST,
        ),
        guest=GuestPin(runtime="fake", digest=_DIGEST, architecture="amd64"),
        vcpu=2,
        memory=512 << 20,
        disk_size=1 << 30,
        net=net or sample_net(),
        driver=driver,
        disk_format=disk_format,
        accel="auto",
        ssh={},
    )


def sample_dirs(root: Path) -> VmDirs:
    """Directories below ``root``; nothing is made."""
    return VmDirs(
        state=root / "state",
        runtime=root / "run",
        kernel=root / "vmlinux",
        initrd=root / "initrd.cpio",
        root_disk=root / "state" / "disk",
        seed=root / "state" / "seed.img",
    )


def sample_record(name: str = "sample") -> VmRecord:
    """A VM that runs."""
    plan = sample_plan(driver="fake")
    from dataclasses import replace

    return VmRecord(
        plan=replace(plan, name=name),
        state=VmState.RUNNING,
        created_at=0.0,
        host_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDsuUyfy0gs3iMfKEMTYjC9xYFAbmTyWlOGR6lSLCHRZ",
    )


def sample_events() -> list[Event]:
    """One event of every kind, as a VM comes and goes."""
    kinds: list[tuple[str, dict[str, object]]] = [
        ("operation.started", {"what": "run sample"}),
        ("step", {"what": "resolving fake://small"}),
        ("progress", {"what": "fake://small", "done": 1, "total": 2}),
        ("notice", {"text": "a notice"}),
        ("vm.ready", {"name": "sample"}),
        ("operation.done", {"result": {"name": "sample"}}),
        ("vm.exited", {"name": "sample", "reason": "guest-shutdown"}),
        ("vm.stopped", {"name": "sample"}),
        ("vm.deleted", {"name": "sample"}),
        ("operation.failed", {"error": {"code": "guest", "error": "it did not start"}}),
    ]
    return [
        Event(
            seq=number,
            time=1_700_000_000.0 + number,
            kind=kind,
            vm=VM_ID if kind.startswith("vm.") else "",
            operation="op1",
            data=data,
        )
        for number, (kind, data) in enumerate(kinds, 1)
    ]
