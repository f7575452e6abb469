"""The vocabulary: frozen values that rooms hand to each other. Standard library only.

Sizes are bytes, times are seconds since the epoch (float) unless a name ends in ``_ns``.
Digests are ``sha256:`` and 64 lower-case hexadecimal digits.
"""

from __future__ import annotations

from collections.abc import Mapping  # pydantic reads VmRequest at run time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from banger_core.netmodel import GUEST_HELPER_PORT as GUEST_HELPER_PORT
from banger_core.netmodel import GUEST_SSH_PORT as GUEST_SSH_PORT
from banger_core.netmodel import Forward as Forward
from banger_core.netmodel import NetPlan as NetPlan
from banger_core.netmodel import Publish as Publish
from banger_core.sshmodel import SshSetting as SshSetting
from banger_core.sshmodel import SshTarget as SshTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Accel = Literal["auto", "kvm", "tcg"]
Level = Literal["pass", "warn", "fail"]


class VmState(StrEnum):
    """What a VM is doing. ``creating`` and ``deleting`` are seen only while an operation runs."""

    CREATING = "creating"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    DELETING = "deleting"
    FAILED = "failed"


class EntryKind(StrEnum):
    """What a layer entry is. ``WHITEOUT`` removes ``path``; ``OPAQUE`` hides what lower layers
    put into the directory ``path`` (OCI image specification, layer.md).
    """

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    CHAR = "char"
    BLOCK = "block"
    FIFO = "fifo"
    WHITEOUT = "whiteout"
    OPAQUE = "opaque"


@dataclass(slots=True)
class Entry:
    """One entry of a layer. Names are bytes, as in the guest; no host path is ever made of them.

    ``data`` streams the content of a ``FILE``: chunks of bytes, and ints for holes of that many
    zero bytes; together exactly ``size`` bytes. It must be consumed before the next entry is
    asked for; what is left over is skipped by the producer. ``link`` is the target of a symbolic
    link, or the path in the tree of a hard link. ``mtime_ns`` is nanoseconds since the epoch.
    """

    path: bytes
    kind: EntryKind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    link: bytes = b""
    rdev: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    data: Iterator[bytes | memoryview | int] | None = None


@dataclass(frozen=True, slots=True)
class ImageRef:
    """``SCHEME://REST``; ``scheme`` is empty for a bare reference.

    ``platform`` (``linux/arm64``) chooses among several; empty means this host's.
    """

    scheme: str
    rest: str
    platform: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Split a reference. Raises nothing: what REST may be is the image source's business."""
        scheme, separator, rest = text.partition("://")
        return cls(scheme.lower(), rest) if separator else cls("", text)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.rest}" if self.scheme else self.rest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """How an image wants its programs run (OCI image configuration, ``config``)."""

    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePin:
    """Exactly one image, before a byte of it is fetched.

    ``name`` is what the image will be called here. ``digest`` changes whenever the content would.
    ``size`` estimates the content in bytes (0: unknown). ``data`` belongs to the source: what it
    needs to fetch precisely this image later.
    """

    source: str
    ref: str
    name: str
    digest: str
    architecture: str
    size: int = 0
    config: ImageConfig = field(default_factory=ImageConfig)
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheItem:
    """Something that an image source keeps to save downloads: ``name`` is a digest or a file's
    name, ``size`` its bytes on disk, ``used_at`` when it was last of use.
    """

    name: str
    size: int
    used_at: float
    partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPin:
    """Exactly one kernel, before a byte of it is fetched. ``data`` belongs to the provider."""

    provider: str
    name: str
    version: str
    distro: str
    architecture: str
    digest: str
    size: int = 0
    source: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFiles:
    """A kernel on disk: ``vmlinux`` is an uncompressed ELF, ``modules`` a directory that holds
    the ``kernel/`` tree and ``modules.*`` lists (or None when everything is built in), ``config``
    the configuration that it was built with, where that is known.
    """

    vmlinux: Path
    initrd: Path | None = None
    modules: Path | None = None
    config: Path | None = None

    @classmethod
    def in_directory(cls, directory: Path) -> KernelFiles:
        """The files of the catalogue's layout: ``vmlinux``, ``initrd.img``, ``modules/`` and
        ``config``.
        """
        initrd, modules = directory / "initrd.img", directory / "modules"
        config = directory / "config"
        return cls(
            vmlinux=directory / "vmlinux",
            initrd=initrd if initrd.is_file() else None,
            modules=modules if modules.is_dir() else None,
            config=config if config.is_file() else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelEntry:
    """One row of a kernel list. ``problem`` is set for an entry that cannot be used."""

    name: str
    distro: str = ""
    architecture: str = ""
    version: str = ""
    digest: str = ""
    source: str = ""
    imported_at: str = ""
    size: int = 0
    description: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestPin:
    """The programs of the guest runtime, pinned before they are fetched."""

    runtime: str
    digest: str
    architecture: str
    versions: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFiles:
    """Programs for the guest runtime, by their place in its initramfs.

    ``programs`` maps ``busybox``, ``dropbear``, ``sftp-server`` and ``scp`` to files on the host;
    ``libraries`` maps the file names that those programs load (the dynamic loader among them,
    named by ``loader``) to files on the host. ``busybox`` must be static.
    """

    programs: Mapping[str, Path]
    libraries: Mapping[str, Path]
    loader: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process that cannot be mistaken for another: pid, start time in clock ticks after boot
    (``/proc/PID/stat`` field 22) and the boot's id (``/proc/sys/kernel/random/boot_id``).
    """

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPolicy:
    """What the project in whose folder a command was given wants of SSH: ``table`` is ``[ssh]``
    of the file ``path``. It may come with anything that was cloned, and can only tighten.
    """

    path: str
    table: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRequest:
    """What a user asked for. ``None`` means: the configured or computed default.

    ``ephemeral`` VMs are deleted when ``lease`` (the asking process) is gone. ``entrypoint``
    says that the image's own program will be run, so an image without one is refused. ``nat``
    asks for a way out by way of the host's addresses, ``link`` for ways to other VMs, by name.
    ``work_disk`` is the size of a disk of its own for ``/root``; 0: there shall be none. ``cold``
    VMs boot from the beginning at every start.
    """

    image: str = ""
    entrypoint: bool = False
    name: str | None = None
    vcpu: int | None = None
    memory: int | None = None
    disk_size: int | None = None
    work_disk: int | None = None
    network: str = ""
    publish: tuple[Publish, ...] = ()
    nat: bool | None = None
    host_access: bool = False
    link: tuple[str, ...] = ()
    driver: str = ""
    kernel: str = ""
    accel: Accel = "auto"
    cold: bool = False
    ephemeral: bool = False
    lease: ProcessId | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    project: ProjectPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VmPlan:
    """Everything about a VM that is decided before anything is made. Frozen and pinned.

    ``image_kernel`` is what the image gets when it has to be made, and the VM has another kernel
    (None: the VM's).
    """

    id: str
    name: str
    image: ImagePin
    kernel: KernelPin
    guest: GuestPin
    vcpu: int
    memory: int
    disk_size: int
    net: NetPlan
    driver: str
    disk_format: str
    accel: Accel
    ssh: Mapping[str, SshSetting]
    cold: bool = False
    ephemeral: bool = False
    lease: ProcessId | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    project: ProjectPolicy | None = None
    image_kernel: KernelPin | None = None
    work_disk: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VmDirs:
    """Where the files of one VM lie. ``runtime`` is short enough for Unix sockets (108 bytes).

    The guest tells its disks apart by their order: root, seed, then ``work_disk`` (raw, None for
    a VM that has none).
    """

    state: Path
    runtime: Path
    kernel: Path
    initrd: Path
    root_disk: Path
    seed: Path
    work_disk: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """How a driver starts a VM, as data: nothing has happened yet.

    ``argv`` is the VMM's command line, ``files`` are written (0600) before it starts, ``sockets``
    names the Unix sockets it will open, ``data`` is for the driver itself.
    """

    driver: str
    argv: tuple[str, ...]
    files: Mapping[Path, str] = field(default_factory=dict)
    sockets: Mapping[str, Path] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineExit:
    """How a VMM process ended. ``status`` is its exit status, None when nobody saw it;
    ``reason`` is what the VMM said (``guest-shutdown``, ``guest-panic``, ``killed`` …).
    """

    status: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRecord:
    """A VM as the store knows it.

    ``host_key`` is the public half of the guest runtime's SSH host key (``ssh-ed25519 AAAA…``),
    made before the first boot. ``image_host_keys`` are those of the image's own server, as it
    showed them at first. ``launch`` is what the driver was asked to start, kept for adoption.
    ``warm`` says that it began as a saved machine.
    ``grown`` names the disks (``root``, ``work``) that were made larger than they were born.
    """

    plan: VmPlan
    state: VmState
    created_at: float
    started_at: float | None = None
    process: ProcessId | None = None
    launch: LaunchSpec | None = None
    image_id: str = ""
    host_key: str = ""
    image_host_keys: tuple[str, ...] = ()
    accel: str = ""
    warm: bool = False
    problem: str = ""
    grown: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The VM's id: 12 hexadecimal digits."""
        return self.plan.id

    @property
    def name(self) -> str:
        """The VM's name: a DNS label, unique in the state."""
        return self.plan.name


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFiles:
    """The user's own files that a registered image is made of: absolute paths, only read.

    ``kernel`` is None when the image keeps a copy of a kernel from the catalogue. A ``packed``
    one is booted from an unpacked copy that the image keeps.
    """

    rootfs: Path
    kernel: Path | None = None
    initrd: Path | None = None
    modules: Path | None = None
    config: Path | None = None
    packed: bool = False

    @property
    def needed(self) -> tuple[Path, ...]:
        """Those without which no VM can be made of the image."""
        kernel = None if self.packed else self.kernel
        return tuple(path for path in (self.rootfs, kernel, self.modules) if path is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """An image that is here, with its full boot set. Paths are inside ``directory``, except those
    of a registered image (``host`` is set).

    ``disk_size`` is the virtual size of its root disk, ``content_size`` what is in it, and
    ``minimum_size`` the smallest disk that holds it.
    """

    id: str
    name: str
    pin: ImagePin
    kernel: KernelPin
    directory: Path
    disk_size: int
    content_size: int
    minimum_size: int
    created_at: float
    host: HostFiles | None = None

    @property
    def own_rootfs(self) -> Path:
        """Where a managed image has its root file system."""
        return self.directory / "rootfs.ext4"

    @property
    def work_seed(self) -> Path:
        """What work disks of a managed image are clones of: its ``/root``. Images made of layers
        have it from the beginning, others from the first work disk on.
        """
        return self.directory / "work-seed.ext4"

    @property
    def own_kernel(self) -> Path:
        """Where an image has its own copy of its kernel, in the catalogue's layout."""
        return self.directory / "kernel"

    @property
    def unpacked_kernel(self) -> Path:
        """Where a registered image keeps what its packed kernel unpacks to."""
        return self.directory / "unpacked" / "vmlinux"

    @property
    def rootfs(self) -> Path:
        """The ext4 root file system, a sparse raw image; never written."""
        return self.host.rootfs if self.host else self.own_rootfs

    @property
    def kernel_files(self) -> KernelFiles:
        """The kernel that its VMs boot."""
        host = self.host
        if host is None or host.kernel is None:
            return KernelFiles.in_directory(self.own_kernel)
        return KernelFiles(
            vmlinux=self.unpacked_kernel if host.packed else host.kernel,
            initrd=host.initrd,
            modules=host.modules,
            config=host.config,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. ``kind`` is dotted (``vm.ready``, ``image.progress``)."""

    seq: int
    time: float
    kind: str
    vm: str = ""
    operation: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found. ``fix`` is the command or action that helps; ``subject`` the check."""

    level: Level
    subject: str
    message: str
    why: str = ""
    fix: str = ""
