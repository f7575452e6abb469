"""The kinds of things that plugins declare: one row per hook, and nothing else to edit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from banger_core import contracts, declare

D = TypeVar("D", bound=declare.Declared)


@dataclass(frozen=True, slots=True)
class Kind(Generic[D]):
    """One hook. ``contract`` is the Protocol that implementations meet, or None when ``load``
    names what is used directly (a function, a model) and not a class to be called.
    """

    hook: str
    noun: str
    declares: type[D]
    shape: Literal["catalogue", "layers", "sinks"]
    contract: type | None


IMAGE_SOURCES = Kind(
    "banger_image_sources",
    "image source",
    declare.ImageSource,
    "catalogue",
    contracts.ImageSource,
)
KERNEL_PROVIDERS = Kind(
    "banger_kernel_providers",
    "kernel provider",
    declare.KernelProvider,
    "catalogue",
    contracts.KernelProvider,
)
GUEST_RUNTIMES = Kind(
    "banger_guest_runtimes",
    "guest runtime",
    declare.GuestRuntime,
    "catalogue",
    contracts.GuestRuntime,
)
NETWORKS = Kind(
    "banger_networks",
    "network",
    declare.Network,
    "catalogue",
    contracts.Network,
)
VMM_DRIVERS = Kind(
    "banger_vmm_drivers",
    "VM driver",
    declare.VmmDriver,
    "catalogue",
    contracts.VmmDriver,
)
NETWORK_ATTACHMENTS = Kind(
    "banger_network_attachments",
    "network attachment",
    declare.NetworkAttachment,
    "layers",
    contracts.NetworkAttachment,
)
SSH_POLICIES = Kind("banger_ssh_policies", "SSH policy", declare.SshPolicy, "layers", None)
EVENT_SINKS = Kind(
    "banger_event_sinks",
    "event sink",
    declare.EventSink,
    "sinks",
    contracts.EventSink,
)
DOCTOR_CHECKS = Kind(
    "banger_doctor_checks",
    "doctor check",
    declare.DoctorCheck,
    "catalogue",
    contracts.DoctorCheck,
)
COMMANDS = Kind("banger_commands", "command", declare.Command, "catalogue", None)
SERVICES = Kind(
    "banger_services",
    "service",
    declare.Service,
    "catalogue",
    contracts.Service,
)
SETTINGS = Kind("banger_settings", "settings section", declare.Settings, "catalogue", None)

KINDS: tuple[Kind[declare.Declared], ...] = (
    IMAGE_SOURCES,
    KERNEL_PROVIDERS,
    GUEST_RUNTIMES,
    NETWORKS,
    VMM_DRIVERS,
    NETWORK_ATTACHMENTS,
    SSH_POLICIES,
    EVENT_SINKS,
    DOCTOR_CHECKS,
    COMMANDS,
    SERVICES,
    SETTINGS,
)  # type: ignore[assignment]  # Kind is read-only, so a Kind[Network] is a Kind[Declared]
BY_HOOK = {kind.hook: kind for kind in KINDS}


def missing_methods(declaration: declare.Declared, implementation: object) -> list[str]:
    """Return the methods of the declaration's contract that ``implementation`` lacks."""
    contract = next(kind.contract for kind in KINDS if isinstance(declaration, kind.declares))
    if isinstance(declaration, declare.KernelProvider) and declaration.catalogue:
        contract = contracts.KernelCatalogue
    wanted = {
        name
        for base in (contract.__mro__ if contract else ())
        if base.__module__ == contracts.__name__
        for name in vars(base)
        if not name.startswith("_")
    }
    return sorted(name for name in wanted if not callable(getattr(implementation, name, None)))
