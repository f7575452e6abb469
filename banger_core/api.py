"""Everything a plugin author may import.

``plugin.py`` (declarations) imports only this module, and this module stays light: heavier tools
are loaded when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from banger_core.contracts import (
    CachingSource,
    Context,
    HelperMachine,
    HostPin,
    KernelCatalogue,
    Layer,
    Machine,
    PinStore,
    RememberingProvider,
    RestoringDriver,
    SavedMachine,
    SshFacts,
    SshPatch,
)
from banger_core.declare import (
    Command,
    Declared,
    DoctorCheck,
    EventSink,
    GuestRuntime,
    ImageSource,
    KernelProvider,
    Network,
    NetworkAttachment,
    Service,
    Settings,
    SshPolicy,
    VmmDriver,
)
from banger_core.errors import (
    BangerError,
    Blocked,
    Conflict,
    ExitCode,
    GuestFailed,
    HostileInput,
    HostNotReady,
    IntegrityError,
    Interrupted,
    NoSpace,
    NotFound,
    Unreachable,
    UsageProblem,
)
from banger_core.model import (
    GUEST_HELPER_PORT,
    GUEST_SSH_PORT,
    Accel,
    CacheItem,
    Entry,
    EntryKind,
    Event,
    Finding,
    Forward,
    GuestFiles,
    GuestPin,
    ImageConfig,
    ImagePin,
    ImageRef,
    KernelEntry,
    KernelFiles,
    KernelPin,
    LaunchSpec,
    Level,
    MachineExit,
    NetPlan,
    ProcessId,
    Publish,
    VmDirs,
    VmPlan,
    VmRecord,
    VmRequest,
)
from banger_core.warmcontract import WARM_WORD, WarmDriver, WarmKey

if TYPE_CHECKING:
    from banger_core.cli.group import Noun, verb
    from banger_core.cli.link import ask, fetch
    from banger_core.cli.options import AsJson, VmRef
    from banger_core.config.paths import secure_dir
    from banger_core.engine.kvm import (
        PROBE_WORD,
        KvmVerdict,
        boot_probe,
        host_processor,
        kvm_problem,
        kvm_verdict,
        remembered_verdict,
    )
    from banger_core.engine.process import alive as process_alive
    from banger_core.engine.process import exit_status as process_status
    from banger_core.engine.process import identify as identify_process
    from banger_core.engine.process import last_words
    from banger_core.engine.process import recorded as recorded_process
    from banger_core.engine.process import signal as signal_process
    from banger_core.engine.process import wait_gone as wait_process
    from banger_core.hookspecs import hookimpl
    from banger_core.kernel.deb import open_deb, read_content
    from banger_core.kernel.vmlinux import extract_vmlinux
    from banger_core.networks.fence import Fence
    from banger_core.networks.fence import filter_now as fence_filter
    from banger_core.networks.fence import open_pair as open_fenced_pair
    from banger_core.networks.fence import packed as packed_filter
    from banger_core.packages import install_command
    from banger_core.quoting import quoted
    from banger_core.rootfs.disks import copy_sparse
    from banger_core.rootfs.layer import read_layer
    from banger_core.rootfs.stream import open_layer
    from banger_core.rootfs.tar import read_tar
    from banger_core.sizes import format_size, parse_size
    from banger_core.store.content import Ingest, blob_path, room_in, sync_directory, write_atomic
    from banger_core.store.locks import FileLock
    from banger_core.threads import in_thread, started
    from banger_core.trust import is_loopback, trusted_context
    from banger_core.ui.console import say, tell
    from banger_core.ui.jsonout import show_json
    from banger_core.ui.tables import show_details, show_table

API_VERSION = 1
"""A plugin module states ``BANGER_API = 1``: the API it was written for."""

_LAZY = {
    "Fence": ("banger_core.networks.fence", "Fence"),
    "fence_filter": ("banger_core.networks.fence", "filter_now"),
    "open_fenced_pair": ("banger_core.networks.fence", "open_pair"),
    "packed_filter": ("banger_core.networks.fence", "packed"),
    "AsJson": ("banger_core.cli.options", "AsJson"),
    "ask": ("banger_core.cli.link", "ask"),
    "KvmVerdict": ("banger_core.engine.kvm", "KvmVerdict"),
    "PROBE_WORD": ("banger_core.engine.kvm", "PROBE_WORD"),
    "boot_probe": ("banger_core.engine.kvm", "boot_probe"),
    "host_processor": ("banger_core.engine.kvm", "host_processor"),
    "kvm_problem": ("banger_core.engine.kvm", "kvm_problem"),
    "kvm_verdict": ("banger_core.engine.kvm", "kvm_verdict"),
    "remembered_verdict": ("banger_core.engine.kvm", "remembered_verdict"),
    "blob_path": ("banger_core.store.content", "blob_path"),
    "copy_sparse": ("banger_core.rootfs.disks", "copy_sparse"),
    "extract_vmlinux": ("banger_core.kernel.vmlinux", "extract_vmlinux"),
    "fetch": ("banger_core.cli.link", "fetch"),
    "FileLock": ("banger_core.store.locks", "FileLock"),
    "format_size": ("banger_core.sizes", "format_size"),
    "hookimpl": ("banger_core.hookspecs", "hookimpl"),
    "in_thread": ("banger_core.threads", "in_thread"),
    "identify_process": ("banger_core.engine.process", "identify"),
    "install_command": ("banger_core.packages", "install_command"),
    "Ingest": ("banger_core.store.content", "Ingest"),
    "is_loopback": ("banger_core.trust", "is_loopback"),
    "last_words": ("banger_core.engine.process", "last_words"),
    "Noun": ("banger_core.cli.group", "Noun"),
    "open_deb": ("banger_core.kernel.deb", "open_deb"),
    "open_layer": ("banger_core.rootfs.stream", "open_layer"),
    "parse_size": ("banger_core.sizes", "parse_size"),
    "process_alive": ("banger_core.engine.process", "alive"),
    "process_status": ("banger_core.engine.process", "exit_status"),
    "quoted": ("banger_core.quoting", "quoted"),
    "read_content": ("banger_core.kernel.deb", "read_content"),
    "read_layer": ("banger_core.rootfs.layer", "read_layer"),
    "read_tar": ("banger_core.rootfs.tar", "read_tar"),
    "recorded_process": ("banger_core.engine.process", "recorded"),
    "room_in": ("banger_core.store.content", "room_in"),
    "say": ("banger_core.ui.console", "say"),
    "secure_dir": ("banger_core.config.paths", "secure_dir"),
    "show_details": ("banger_core.ui.tables", "show_details"),
    "show_json": ("banger_core.ui.jsonout", "show_json"),
    "show_table": ("banger_core.ui.tables", "show_table"),
    "signal_process": ("banger_core.engine.process", "signal"),
    "started": ("banger_core.threads", "started"),
    "sync_directory": ("banger_core.store.content", "sync_directory"),
    "tell": ("banger_core.ui.console", "tell"),
    "trusted_context": ("banger_core.trust", "trusted_context"),
    "verb": ("banger_core.cli.group", "verb"),
    "VmRef": ("banger_core.cli.options", "VmRef"),
    "wait_process": ("banger_core.engine.process", "wait_gone"),
    "write_atomic": ("banger_core.store.content", "write_atomic"),
}


_GOING: dict[str, tuple[str, str, str, str]] = {}
"""What will go: where it is (module and attribute), the release in which it goes, and what to use
instead. A release that still has something of its own here fails a test.
"""


def __getattr__(name: str) -> Any:
    """Load one of the heavier tools, or what will go."""
    if name in _GOING:
        from banger_core.deprecation import deprecated

        module, attribute, goes_in, instead = _GOING[name]
        deprecated(f"{__name__}.{name}", goes_in=goes_in, instead=instead)
        return getattr(import_module(module), attribute)
    try:
        module, attribute = _LAZY[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(module), attribute)


__all__ = [
    "API_VERSION",
    "GUEST_HELPER_PORT",
    "GUEST_SSH_PORT",
    "PROBE_WORD",
    "WARM_WORD",
    "Accel",
    "AsJson",
    "BangerError",
    "Blocked",
    "CacheItem",
    "CachingSource",
    "Command",
    "Conflict",
    "Context",
    "Declared",
    "DoctorCheck",
    "Entry",
    "EntryKind",
    "Event",
    "EventSink",
    "ExitCode",
    "Fence",
    "FileLock",
    "Finding",
    "Forward",
    "GuestFailed",
    "GuestFiles",
    "GuestPin",
    "GuestRuntime",
    "HelperMachine",
    "HostNotReady",
    "HostPin",
    "HostileInput",
    "ImageConfig",
    "ImagePin",
    "ImageRef",
    "ImageSource",
    "Ingest",
    "IntegrityError",
    "Interrupted",
    "KernelCatalogue",
    "KernelEntry",
    "KernelFiles",
    "KernelPin",
    "KernelProvider",
    "KvmVerdict",
    "LaunchSpec",
    "Layer",
    "Level",
    "Machine",
    "MachineExit",
    "NetPlan",
    "Network",
    "NetworkAttachment",
    "NoSpace",
    "NotFound",
    "Noun",
    "PinStore",
    "ProcessId",
    "Publish",
    "RememberingProvider",
    "RestoringDriver",
    "SavedMachine",
    "Service",
    "Settings",
    "SshFacts",
    "SshPatch",
    "SshPolicy",
    "Unreachable",
    "UsageProblem",
    "VmDirs",
    "VmPlan",
    "VmRecord",
    "VmRef",
    "VmRequest",
    "VmmDriver",
    "WarmDriver",
    "WarmKey",
    "ask",
    "blob_path",
    "boot_probe",
    "copy_sparse",
    "extract_vmlinux",
    "fence_filter",
    "fetch",
    "format_size",
    "hookimpl",
    "host_processor",
    "identify_process",
    "in_thread",
    "install_command",
    "is_loopback",
    "kvm_problem",
    "kvm_verdict",
    "last_words",
    "open_deb",
    "open_fenced_pair",
    "open_layer",
    "packed_filter",
    "parse_size",
    "process_alive",
    "process_status",
    "quoted",
    "read_content",
    "read_layer",
    "read_tar",
    "recorded_process",
    "remembered_verdict",
    "room_in",
    "say",
    "secure_dir",
    "show_details",
    "show_json",
    "show_table",
    "signal_process",
    "started",
    "sync_directory",
    "tell",
    "trusted_context",
    "verb",
    "wait_process",
    "write_atomic",
]
