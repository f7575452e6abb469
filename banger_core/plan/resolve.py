"""VmRequest to VmPlan: every choice is made, checked and pinned; nothing is made yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from banger_core.errors import Conflict, UsageProblem
from banger_core.model import (
    GuestPin,
    ImagePin,
    ImageRecord,
    KernelPin,
    NetPlan,
    SshSetting,
    VmPlan,
    VmRecord,
    VmRequest,
    VmState,
)
from banger_core.plan.entrypoint import check_entrypoint
from banger_core.plan.limits import (
    check_disk,
    check_estimate,
    check_memory,
    check_ports,
    check_vcpu,
    check_work_disk,
)
from banger_core.plan.links import find_linkable, taps
from banger_core.plan.names import check_name, make_id, make_name
from banger_core.plan.review import check_needs
from banger_core.rootfs.build import FLOOR

if TYPE_CHECKING:
    from banger_core.config.settings import Settings
    from banger_core.plugins.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What the chooser found. ``image`` is set when the image is here already, ``image_kernel``
    when it is not and gets another kernel than the VM.
    """

    image_pin: ImagePin
    kernel: KernelPin
    guest: GuestPin
    image: ImageRecord | None = None
    image_kernel: KernelPin | None = None


def check_request(request: VmRequest, existing: Sequence[VmRecord]) -> None:
    """Refuse what can be refused without asking anybody: names and sizes."""
    if request.name is not None:
        check_name(request.name)
        for vm in existing:
            if vm.name == request.name:
                raise _taken(vm)
    if request.vcpu is not None:
        check_vcpu(request.vcpu)
    if request.memory is not None:
        check_memory(request.memory)
    if request.disk_size is not None:
        check_disk(request.disk_size, FLOOR)
    if request.work_disk is not None:
        check_work_disk(request.work_disk)
    check_ports(request.publish)


def _taken(vm: VmRecord) -> Conflict:
    reach = "ssh" if vm.state is VmState.RUNNING else "vm start"
    return Conflict(
        f"there is a VM named {vm.name} already",
        cause=f"it is {vm.state}, made of {vm.plan.image.ref}",
        hints=[f"banger {reach} {vm.name}", "choose another name with --name"],
    )


def check_choices(request: VmRequest, registry: Registry, settings: Settings) -> None:
    """Refuse drivers and networks that do not exist, cannot work together, or lack something of
    the host. Raises NotFound, UsageProblem or HostNotReady.
    """
    driver = registry.vmm_drivers.declared(request.driver or settings.vm.driver)
    network = registry.networks.declared(request.network or settings.vm.network)
    check_needs([driver, network])


def make_plan(
    request: VmRequest,
    pins: Pins,
    *,
    registry: Registry,
    settings: Settings,
    existing: Sequence[VmRecord],
    ssh: Mapping[str, SshSetting],
) -> VmPlan:
    """Decide everything that is still open. Raises UsageProblem where the parts do not fit."""
    check_entrypoint(request, pins.image_pin)
    vm_id = make_id()
    driver = request.driver or settings.vm.driver
    network = request.network or settings.vm.network
    declared = registry.vmm_drivers.declared(driver)
    net: NetPlan = registry.networks.load(network).plan(
        vm_id, request, [vm.plan.net for vm in existing], settings.plugin(network)
    )
    if request.link:
        net = replace(net, links=taps(find_linkable(net, request.link, existing)))
    if net.kind not in declared.networks:
        raise UsageProblem(
            f"driver {driver} cannot use network {network}",
            cause=f"it connects {', '.join(declared.networks)}, not {net.kind}",
            hints=["--network user", "banger plugin list"],
        )
    return VmPlan(
        id=vm_id,
        name=request.name or make_name({vm.name for vm in existing}),
        image=pins.image_pin,
        kernel=pins.kernel,
        guest=pins.guest,
        vcpu=check_vcpu(request.vcpu or settings.vm.vcpu),
        memory=check_memory(request.memory or settings.vm.memory),
        disk_size=_disk_size(request, pins, settings),
        net=net,
        driver=driver,
        disk_format=declared.disk_formats[0],
        accel=request.accel if request.accel != "auto" else settings.vm.accel,
        ssh=ssh,
        cold=request.cold,
        ephemeral=request.ephemeral,
        lease=request.lease,
        labels=request.labels,
        project=request.project,
        image_kernel=pins.image_kernel,
        work_disk=check_work_disk(
            settings.vm.work_disk or 0 if request.work_disk is None else request.work_disk
        ),
    )


def _disk_size(request: VmRequest, pins: Pins, settings: Settings) -> int:
    """The root disk's size in bytes. What an image needs is known once it is here; the engine
    checks again after the pull, before it makes a disk.
    """
    wanted, image = request.disk_size or settings.vm.disk_size, pins.image
    if image is not None:
        return check_disk(wanted or image.disk_size, image.minimum_size)
    size = check_disk(wanted or settings.image.size, FLOOR)
    check_estimate(size, pins.image_pin.size, pins.image_pin.ref)
    return size
