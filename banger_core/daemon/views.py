"""What the API says about things: plain JSON values, the same for every client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from banger_core.jsonable import to_json
from banger_core.model import GUEST_SSH_PORT, ImagePin, ImageRecord, KernelEntry, VmRecord
from banger_core.plan.links import linked_with
from banger_core.plan.registered import problem_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from banger_core.engine.engine import Engine


def vm_view(record: VmRecord) -> dict[str, Any]:
    """One VM. Sizes in bytes, times in seconds since the epoch."""
    plan = record.plan
    host, port = plan.net.ssh
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state.value,
        "image": plan.image.ref,
        "image_id": record.image_id,
        "image_digest": plan.image.digest,
        "kernel": f"{plan.kernel.name} {plan.kernel.version}",
        "vcpu": plan.vcpu,
        "memory": plan.memory,
        "disk_size": plan.disk_size,
        "work_disk": plan.work_disk,
        "nat": plan.net.outbound,
        "network": plan.net.network,
        "driver": plan.driver,
        "accel": record.accel,
        "warm": record.warm,
        "address": host,
        "address6": plan.net.guest_address6.partition("/")[0],
        "mac": plan.net.mac,
        "ssh_port": port,
        "host_access": plan.net.host_access,
        "ports": [
            str(forward.publish)
            for forward in plan.net.forwards
            if forward.guest_port != GUEST_SSH_PORT
        ],
        "created_at": record.created_at,
        "started_at": record.started_at,
        "ephemeral": plan.ephemeral,
        "labels": dict(plan.labels),
        "problem": record.problem,
        "pid": record.process.pid if record.process else None,
    }


def vm_details(record: VmRecord, everybody: Iterable[VmRecord]) -> dict[str, Any]:
    """One VM, with what its image says about running programs, and those of ``everybody`` that
    it is linked with, whichever of the two was made first.
    """
    pin = record.plan.image
    return {
        **vm_view(record),
        "links": sorted(other.name for other in linked_with(record.plan.net, everybody)),
        "platform": _platform(pin),
        "config": to_json(pin.config),
    }


def image_view(engine: Engine, image: ImageRecord) -> dict[str, Any]:
    """One image, with its VMs and what is wrong with it."""
    return {
        "id": image.id,
        "name": image.name,
        "ref": image.pin.ref,
        "source": image.pin.source,
        "digest": image.pin.digest,
        "architecture": image.pin.architecture,
        "platform": _platform(image.pin),
        "kernel": f"{image.kernel.name} {image.kernel.version}",
        "disk_size": image.disk_size,
        "content_size": image.content_size,
        "minimum_size": image.minimum_size,
        "created_at": image.created_at,
        "kind": "registered" if image.host else "managed",
        "files": _files(image),
        "problem": problem_of(image),
        "config": to_json(image.pin.config),
        "used_by": [vm.name for vm in engine.records.vms_using_image(image.id)],
    }


def _files(image: ImageRecord) -> dict[str, Any]:
    """Where the parts of an image lie; what it does not have is left out."""
    kernel = image.kernel_files
    parts = {
        "rootfs": image.rootfs,
        "kernel": (image.host and image.host.kernel) or kernel.vmlinux,
        "initrd": kernel.initrd,
        "modules": kernel.modules,
        "config": kernel.config,
    }
    return {name: str(path) for name, path in parts.items() if path is not None}


def kernel_view(entry: KernelEntry, *, provider: str = "", here: bool = True) -> dict[str, Any]:
    """One kernel, here or on offer."""
    return {**to_json(entry), "provider": provider, "here": here}


def _platform(pin: ImagePin) -> str:
    return f"linux/{pin.architecture}"
