"""Build the initramfs: banger's own programs and scripts, and the drivers of one kernel.

It is the same for every VM with that kernel; what differs comes in the seed. Uncompressed: the
guest would spend more time unpacking than the host spends reading.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files as package_files
from typing import TYPE_CHECKING

from banger_core.errors import IntegrityError, UsageProblem
from banger_core.guest.become import become_program
from banger_core.guest.cpio import CpioWriter
from banger_core.guest.elf import NAMES, elf_machine
from banger_core.guest.modules import ModuleTree
from banger_core.guest.programs import PROGRAMS, small_program
from banger_core.guest.reseed import reseed_program
from banger_core.store.content import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.model import GuestFiles, GuestPin, KernelFiles

MODULES = {
    "early": ("virtio_mmio", "ext4"),
    "pci": ("virtio_pci",),
    "disks": ("virtio_blk",),
    "card": ("virtio_net",),
    "port": ("virtio_console",),
    "vsock": ("vmw_vsock_virtio_transport",),
    "late": ("virtio-rng", "pvpanic-mmio", "overlay"),
}
"""What is loaded first of all, on machines with a PCI bus, for the disks and the network card, for
the guest helper's two ways to the host, and when the guest already answers."""

SCRIPTS = {
    "init": "init",
    "load": "banger/load",
    "network": "banger/network",
    "serve": "banger/serve",
    "renew": "banger/renew",
    "warm": "banger/warm",
    "work": "banger/work",
    "handover": "banger/handover",
    "login": "banger/login",
    "helper": "banger/helper",
    "session": "banger/session",
    "enter": "export/enter",
    "user": "export/user",
    "pid1": "export/pid1",
    "another": "export/become-another",
    "shutdown": "export/shutdown",
    "poweroff": "export/tools/poweroff",
    "scp": "export/tools/scp",
}
"""Where each script of ``files/`` lies in the initramfs. ``export/`` is what the image gets to
see, read-only, as ``/run/banger``."""


def build_initrd(files: GuestFiles, kernel: KernelFiles, out: Path) -> None:
    """Write the initramfs ``out`` (0600), whole or not at all; the same input gives the same
    bytes. Raises IntegrityError for programs or modules that are not what they should be, and
    what ``check_kernel`` raises.
    """
    check_kernel(kernel)
    archive = CpioWriter()
    for directory in ("proc", "sys", "dev", "newroot", "work", "seed", "run/exec", "tmp"):
        archive.directory(directory)
    archive.directory("root", 0o700)
    archive.directory("root/.ssh", 0o700)
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3, 0o666)
    # What the kernel's own /dev lacks
    for directory in ("pts", "shm"):
        archive.directory(f"devices/{directory}")
    archive.symlink("devices/fd", "/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        archive.symlink(f"devices/{name}", f"fd/{number}")
    _add_programs(archive, files)
    _add_scripts(archive)
    _add_accounts(archive)
    if kernel.modules is not None:
        _add_modules(archive, ModuleTree(kernel.modules))
    write_atomic(out, archive.finish())


def check_kernel(kernel: KernelFiles) -> None:
    """Raise UsageProblem when the kernel is known to lack, built in and as a module, what a guest
    must have to reach its root disk and its network: such a guest would never come up.
    """
    from banger_core.kernel.facts import read_facts
    from banger_core.kernel.features import State

    facts = read_facts(kernel)
    lacks = list(facts.fatal)
    if facts.architecture == "amd64" and facts.features["virtio_mmio"] is State.MISSING:
        lacks.append("it has no virtio_mmio: machines for amd64 have their disks there, not on PCI")
    if lacks:
        raise UsageProblem(
            f"no guest can boot the kernel {facts.version}".rstrip(),
            cause="; ".join(lacks),
            hints=["banger kernel list", "banger kernel list --available"],
        )


def initrd_digest(guest: GuestPin, kernel: KernelFiles) -> str:
    """Return 16 hexadecimal digits that change when ``build_initrd`` would give other bytes.

    Quick: looks at the kernel's lists and at the age of its files, not at every module.
    """
    facts = [_runtime_version(), guest.digest]
    paths = [kernel.vmlinux]
    if kernel.modules is not None:
        paths += sorted(kernel.modules.glob("modules.*"))
    for path in paths:
        state = path.stat()
        facts.append(f"{path.name} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _add_programs(archive: CpioWriter, files: GuestFiles) -> None:
    busybox = files.programs["busybox"].read_bytes()
    archive.file("export/bin/busybox", busybox, 0o755)
    for applet in _data("applets").split():
        archive.symlink(f"export/bin/{applet}", "busybox")
    archive.symlink("bin", "export/bin")
    archive.symlink("sbin", "export/bin")
    archive.file("banger/dropbear", files.programs["dropbear"].read_bytes(), 0o755)
    for name in ("sftp-server", "scp"):
        archive.file(f"export/libexec/{name}", files.programs[name].read_bytes(), 0o755)
    if files.loader not in files.libraries:
        raise IntegrityError(f"the guest runtime lacks its loader {files.loader}")
    for name, path in sorted(files.libraries.items()):
        archive.file(f"export/lib/{name}", path.read_bytes(), 0o755)
    archive.symlink("export/lib/ld.so", files.loader)
    # Where the programs look for their loader, and the loader for libraries
    archive.symlink("lib", "export/lib")
    archive.symlink("lib64", "export/lib")
    machine = elf_machine(busybox)
    archive.file("export/libexec/become", become_program(machine), 0o755)
    for name, place in PROGRAMS.items():
        archive.file(place, small_program(name, machine), 0o755)
    if reseed := reseed_program(machine):
        archive.file("banger/reseed", reseed, 0o755)


def _add_scripts(archive: CpioWriter) -> None:
    for name, place in SCRIPTS.items():
        archive.file(place, _data(name).encode(), 0o755)


def _add_accounts(archive: CpioWriter) -> None:
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/banger/login\n")
    archive.file("etc/group", b"root:x:0:\n")
    archive.file("etc/shells", b"/banger/login\n")


def _add_modules(archive: CpioWriter, tree: ModuleTree) -> None:
    loaded: list[str] = []
    for stage, wanted in MODULES.items():
        modules = tree.select(wanted, loaded)
        for module in modules:
            archive.file(f"mod/{module.name}.ko", module.data)
        names = [module.name for module in modules]
        archive.file(f"mod/{stage}", "".join(f"{name}\n" for name in names).encode())
        loaded += names


def _data(name: str) -> str:
    return (package_files("banger_core.guest") / "files" / name).read_text("utf-8")


@cache
def _runtime_version() -> str:
    """A digest of everything that this package itself puts into the initramfs."""
    digest = hashlib.sha256(repr((MODULES, SCRIPTS)).encode())
    for name in ("applets", *SCRIPTS):
        digest.update(f"{name}\0{_data(name)}\0".encode())
    for machine in NAMES:
        digest.update(become_program(machine) + (reseed_program(machine) or b""))
        for name in PROGRAMS:
            digest.update(small_program(name, machine))
    return digest.hexdigest()
