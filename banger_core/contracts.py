"""What stands behind the declarations: one small Protocol per kind. Standard library only.

Implementations are loaded (``load="package.module:attr"``) when chosen: ``attr`` is a class that
is called without arguments, or (where noted) a function. Methods run in the daemon; an ``async``
method must not block the event loop, a plain one is pure or is called in a worker thread.

Failures: raise from ``banger_core.errors``. Anything else that escapes becomes a ``PluginError``
that names the plugin.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import asyncio
    import logging
    from contextlib import AbstractContextManager
    from pathlib import Path

    from banger_core.model import (
        Accel,
        CacheItem,
        Entry,
        Event,
        Finding,
        Forward,
        GuestFiles,
        GuestPin,
        ImagePin,
        ImageRef,
        KernelEntry,
        KernelFiles,
        KernelPin,
        LaunchSpec,
        MachineExit,
        NetPlan,
        ProcessId,
        VmDirs,
        VmPlan,
        VmRecord,
        VmRequest,
    )


class Context(Protocol):
    """What a plugin gets to work with; nothing else of the daemon is reachable."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The plugin's own section of the configuration, checked against its model."""

    @property
    def log(self) -> logging.Logger:
        """A logger that names the plugin."""

    @property
    def cache_dir(self) -> Path:
        """A private directory (0700) that may vanish between operations, never during one."""

    @property
    def state_dir(self) -> Path:
        """A private directory (0700) of the plugin that stays."""

    @property
    def kernels_dir(self) -> Path:
        """``<state>/kernels`` (0700): the on-disk kernel catalogue that every plugin may read and
        its keeper writes.
        """

    @property
    def ssh_dir(self) -> Path:
        """The private directory (0700) of banger's key, its ``known_hosts`` and, in ``vms``, one
        note for each VM that can be reached.
        """

    def progress(self, what: str, done: int, total: int) -> None:
        """Report progress; bytes when ``what`` names a download. ``total`` 0 means unknown.
        Callable from any thread. Raises Interrupted when the operation has been cancelled.
        """

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> bytes:
        """Run a host program to its end and return its stdout. No shell. Raises HostNotReady
        when the program is missing and BangerError (with the pasteable command) when it fails
        or takes longer than ``timeout`` seconds.
        """

    async def spawn(self, argv: Sequence[str], *, directory: Path) -> ProcessId:
        """Start a long-lived process in a session of its own, recorded before it exists and
        found again after a crash. It outlives the daemon. Its stderr goes to
        ``directory/vmm.log`` (bounded by the program: VMMs say little).
        """


# --- images ----------------------------------------------------------------------------------


class Layer(Protocol):
    """One layer of an image: iterate it once for its entries, oldest name first."""

    digest: str

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in archive order. Raises IntegrityError when the bytes are not the
        pinned ones (at the latest after the last entry) and HostileInput for what no honest
        archive holds.
        """


class ImageSource(Protocol):
    """Where images come from."""

    def name(self, ref: ImageRef) -> str:
        """Return what an image of ``ref`` is called here, without asking anybody: different ways
        of writing one reference give one name, and it is the ``name`` of its pin. Raises
        UsageProblem for what is no reference of this source.
        """

    async def resolve(self, ref: ImageRef, cx: Context) -> ImagePin:
        """Say exactly which image ``ref`` is now, without fetching it. Raises NotFound."""

    async def fetch(self, pin: ImagePin, cx: Context) -> None:
        """Make everything of ``pin`` local and verified, with progress; quick when it is."""

    def layers(self, pin: ImagePin, cx: Context) -> AbstractContextManager[Iterable[Layer]]:
        """Open the layers of a fetched pin, lowest first. Runs in a worker thread; nothing is
        unpacked onto the host, the core merges and writes.
        """


@runtime_checkable
class CachingSource(ImageSource, Protocol):
    """An image source that keeps what it downloaded."""

    async def prune(self, cx: Context, *, keep: int, dry_run: bool) -> list[CacheItem]:
        """Remove what was not used for longest until ``keep`` bytes are left, never what a pull
        uses, this process's or another's. Returns what went, or with ``dry_run`` what would.
        """


# --- kernels and the guest runtime -----------------------------------------------------------


class KernelProvider(Protocol):
    """Where kernels come from."""

    async def available(self, cx: Context) -> list[KernelEntry]:
        """List what this provider offers by name, without the network where it can."""

    async def resolve(self, name: str, cx: Context) -> KernelPin:
        """Say exactly which kernel ``name`` is now. Raises NotFound with the names there are."""

    async def materialise(self, pin: KernelPin, into: Path, cx: Context) -> KernelFiles:
        """Write the pinned kernel's files into the empty directory ``into``, verified."""


@runtime_checkable
class RememberingProvider(KernelProvider, Protocol):
    """A kernel provider that does not go back on what it offered before."""

    async def accept(self, name: str, cx: Context) -> None:
        """Take what is offered as ``name`` now as the truth: the user insists on it."""


@runtime_checkable
class KernelCatalogue(KernelProvider, Protocol):
    """The provider that keeps kernels on this host. ``available`` lists broken entries too, with
    ``problem`` set; ``resolve`` and ``materialise`` (links or copies) serve what is here.
    """

    async def add(
        self, pin: KernelPin, files: KernelFiles, cx: Context, *, replace: bool
    ) -> KernelEntry:
        """Keep ``files`` as ``pin.name``, whole or not at all; moves what it can. Raises
        Conflict when the name is taken and ``replace`` is false.
        """

    async def remove(self, name: str, cx: Context) -> None:
        """Remove an entry, also a broken one. Raises NotFound."""

    async def verify(self, name: str, cx: Context) -> list[str]:
        """Compare everything that lies there with what was kept, and return what is wrong, one
        line for each problem; empty when all is well. Raises NotFound.
        """


class GuestRuntime(Protocol):
    """Where the programs that banger brings into guests come from."""

    async def resolve(self, architecture: str, cx: Context) -> GuestPin:
        """Say exactly which programs; from the cache when that is enough (no network)."""

    async def materialise(self, pin: GuestPin, cx: Context) -> GuestFiles:
        """Return the verified programs as files in the plugin's cache."""


# --- networks --------------------------------------------------------------------------------


class Network(Protocol):
    """Connects VMs to the host and to each other."""

    def plan(
        self,
        vm_id: str,
        request: VmRequest,
        taken: Iterable[NetPlan],
        settings: Mapping[str, Any],
    ) -> NetPlan:
        """Decide addresses and forwards; pure, except for asking the host what is free.
        ``taken`` are the plans of all other VMs, ``settings`` the network's own section of the
        configuration. Raises UsageProblem for a wish that this network cannot fulfil.
        """

    async def up(self, plan: NetPlan, cx: Context) -> None:
        """Make what the plan needs on the host; idempotent."""

    async def down(self, plan: NetPlan, cx: Context) -> None:
        """Remove it; idempotent, and works after a crash in the middle of ``up``."""


class NetworkAttachment(Protocol):
    """Acts when a VM joins or leaves its network (a DNS name, a firewall rule)."""

    async def attach(self, vm: VmRecord, cx: Context) -> None:
        """The VM is ready: publish it. Idempotent."""

    async def detach(self, vm: VmRecord, cx: Context) -> None:
        """The VM is gone or going: remove every trace of it. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPin:
    """A host key that is pinned: one line of known_hosts.

    ``names`` are the hosts as they stand there (a hashed one as ``|1|SALT|HASH``), ``fingerprint``
    is ``SHA256:`` and unpadded base64 as ssh-keygen prints it, ``marker`` is empty,
    ``@cert-authority`` or ``@revoked``. ``vm_id`` is the VM that it was pinned for, empty for a
    line of somebody else's; ``line`` counts from 1.
    """

    names: tuple[str, ...]
    key_type: str
    fingerprint: str
    line: int
    marker: str = ""
    vm_id: str = ""


@runtime_checkable
class PinStore(NetworkAttachment, Protocol):
    """A network attachment that pins host keys for OpenSSH."""

    async def list_pins(self, cx: Context) -> list[HostPin]:
        """List what is pinned, in the order of the file. Lines that nobody understands are left
        out.
        """

    async def forget(self, name: str, cx: Context) -> list[HostPin]:
        """Remove the pins of ``name``, and return them; empty when there are none.

        ``name`` is what known_hosts calls a host (``web.vm``, ``[127.0.0.2]:1022``), or an
        address without its port, which stands for all its ports. A line goes with all its names,
        hashed ones too, as with ``ssh-keygen -R``; wildcards and marked lines stay.
        """


# --- VM drivers ------------------------------------------------------------------------------


@runtime_checkable
class Machine(Protocol):
    """A VM that a driver runs."""

    @property
    def process(self) -> ProcessId:
        """The VMM's process."""

    async def wait(self) -> MachineExit:
        """Return when the VMM has ended. Cancelling the wait leaves the VM alone."""

    def console(self) -> AsyncIterator[bytes]:
        """The serial console from now on, until the VM ends; raw bytes, hostile."""

    async def stop(self, grace: float) -> None:
        """Ask the guest to power off, at most ``grace`` seconds, where the VMM can ask."""

    async def kill(self) -> None:
        """End the VMM now. Idempotent."""

    async def pause(self) -> None:
        """Stop the virtual CPUs."""

    async def resume(self) -> None:
        """Let the virtual CPUs go on."""

    async def snapshot(self, into: Path) -> None:
        """Write memory and device state into the directory ``into``; the VM is as it was before,
        paused or running. Raises BangerError where the driver cannot, and leaves nothing then.
        """

    async def close(self) -> None:
        """Let go of the VM, which goes on: connections are closed, for another to adopt it.
        Idempotent.
        """


@runtime_checkable
class ForwardingMachine(Machine, Protocol):
    """A VM whose VMM can publish ports while it runs (network kind ``user``)."""

    async def add_forward(self, forward: Forward) -> None:
        """Listen at the forward's host end from now on. Raises Conflict when that is taken."""

    async def remove_forward(self, forward: Forward) -> None:
        """Stop listening there; connections that are open may go on. Idempotent."""


@runtime_checkable
class HelperMachine(Machine, Protocol):
    """A VM whose guest helper can be reached without a network.

    The driver gives its guest a virtio port named ``banger.helper`` (virtio specification,
    "Console Device"), or a vsock device (vsock(7)), where the helper listens at port
    ``GUEST_HELPER_PORT``. What is said there is the core's business.
    """

    async def helper(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the helper. One connection at a time; the guest may say nothing, or anything.
        The reader keeps asyncio's default limit, so that a guest that floods it is throttled.
        Raises OSError or GuestFailed when nobody can be there (now).
        """


@runtime_checkable
class SavedMachine(Machine, Protocol):
    """A VM whose ``snapshot`` its driver can ``restore``."""

    async def needs(self) -> Mapping[str, str]:
        """Say what a snapshot of this VM needs where it is restored, by short names that people
        read (``qemu``: ``7.2.22``): whatever must be equal there. See ``RestoringDriver.offers``.
        """

    async def connect(self) -> None:
        """Let the network card go that a restored VM has been kept without: plug it in, or set
        the host's end of it up. Idempotent; does nothing where the driver does not declare
        ``fork``, nor for a network of the kind ``tap`` whose end is not the driver's to close.
        """


class VmmDriver(Protocol):
    """Runs VMs with one virtual machine monitor."""

    async def accel(self, wanted: Accel, dirs: VmDirs, cx: Context) -> str:
        """Decide ``kvm`` or ``tcg``. ``auto`` boots a tiny guest once and remembers the verdict;
        ``kvm`` raises HostNotReady where it does not work. ``dirs`` names a kernel and initrd
        to boot (its disks are not touched).
        """

    def launch(self, plan: VmPlan, dirs: VmDirs, accel: str) -> LaunchSpec:
        """Say how to start the VM: pure, the same input gives the same answer."""

    async def start(self, spec: LaunchSpec, cx: Context) -> Machine:
        """Start it (through ``cx.spawn``) and return when the VMM runs. On failure, and when it
        is cancelled, nothing of the VMM is left. Raises HostNotReady for what the host lacks,
        Conflict when a port is taken, GuestFailed with the VMM's last words when it ends at once.
        """

    async def adopt(self, spec: LaunchSpec, process: ProcessId, cx: Context) -> Machine:
        """Take over a VM that an earlier daemon started, or that was let go of."""


@runtime_checkable
class RestoringDriver(VmmDriver, Protocol):
    """A driver that declares the feature ``snapshot``: its machines are ``SavedMachine``."""

    async def offers(self, spec: LaunchSpec, cx: Context) -> Mapping[str, str]:
        """Say what there would be for a VM restored as ``spec`` here and now, by the names that
        ``needs`` uses. A snapshot is restored only where both are equal. Starts nothing.
        """

    async def restore(self, spec: LaunchSpec, source: Path, cx: Context) -> SavedMachine:
        """Start a VM that goes on where the snapshot in the directory ``source`` was taken, with
        the disks, network and sockets of ``spec``, which is that of another VM when this is to be
        a copy. What is in ``source`` is known to be what ``snapshot`` wrote; it may vanish as soon
        as this returns, and is never changed.

        The virtual CPUs stand still until ``resume``. A driver that declares ``fork`` has the
        network card cut off until ``connect``, too, by the VMM or by the host's end of the card:
        nothing of a copy gets out before it has been told who it is. (An interface of the kind
        ``tap`` is cut off by its network, see ``HoldingNetwork``.) Without, only the VM that was
        saved is restored. On failure, and when it is cancelled, nothing of the VMM is left. Raises
        what ``start`` raises, and IntegrityError for a snapshot that the VMM does not take.
        """


# --- services --------------------------------------------------------------------------------


class Service(Protocol):
    """Works beside the daemon for as long as that runs, and answers questions, most often those
    of a command of the same plugin.
    """

    async def tend(self, cx: Context) -> None:
        """See to it that everything runs that should. Called when the daemon has settled what an
        earlier one left, and then every few seconds, so it is quick and idempotent. What goes on
        in between is a process of its own (``cx.spawn``). The daemon can end at any moment, and
        nobody is told: such a process watches for the end of what it depends on itself.
        """

    async def answer(self, question: str, data: Mapping[str, Any], cx: Context) -> Any:
        """Answer ``question`` with what JSON can say. ``data`` is as the asker sent it, checked
        by nobody. Raises NotFound for a question that is none of its own, UsageProblem for bad
        data.
        """


# --- SSH policy, event sinks and doctor ------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SshFacts:
    """What an SSH policy may look at."""

    vm_name: str
    vm_id: str
    labels: Mapping[str, str]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SshPatch:
    """What a policy layer wants: values to set, and keys to lock for every layer below."""

    set: Mapping[str, Any] = field(default_factory=dict)
    lock: frozenset[str] = frozenset()


SshPolicyLayer = Callable[[SshFacts], SshPatch]
"""A pure function; ``load`` names it directly."""


class EventSink(Protocol):
    """Observes what happens. Nothing waits for a sink, and nothing that it does changes what is
    done: one that fails is named in the log, one that is slower than events come loses the oldest.
    """

    async def handle(self, event: Event, cx: Context) -> None:
        """Take note of one event. They come one at a time, in the order of ``event.seq``, each once
        (but not those of the time when no daemon runs). Takes at most 10 seconds.
        """


class DoctorCheck(Protocol):
    """Checks one aspect of the host."""

    async def check(self, cx: Context) -> list[Finding]:
        """Look, change nothing."""

    async def fix(self, cx: Context) -> list[Finding]:
        """Mend what is safe to mend and say what was done; empty when nothing can be."""
