"""What QEMU calls its parts, by the guest's processor architecture (Debian's names)."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass

from banger_core.api import Context, HostNotReady, UsageProblem, install_command


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """``bus`` ends the names of virtio devices; ``console`` is the kernel's name of the serial
    port; ``panic_device`` tells QEMU of a guest's panic (empty: there is none); ``kernel_words``
    are what the guest's kernel must be told about the machine; ``memory`` is what QEMU calls the
    machine's memory (empty: such machines are not started warm).
    """

    binary: str
    machine: str
    bus: str
    console: str
    panic_device: str = ""
    kernel_words: tuple[str, ...] = ()
    memory: str = ""


ARCHITECTURES = {
    "amd64": Architecture(
        binary="qemu-system-x86_64",
        # Without PIC and PIT there is no timer that a busy host could make the kernel wait for
        machine="microvm,pic=off,pit=off,rtc=on",
        bus="device",
        console="ttyS0",
        panic_device="pvpanic",
        kernel_words=("pci=off",),
        memory="microvm.ram",
    ),
    "arm64": Architecture(
        binary="qemu-system-aarch64",
        machine="virt",
        bus="pci",
        console="ttyAMA0",
    ),
}

_HOSTS = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture(name: str) -> Architecture:
    """Return the parts for an architecture. Raises UsageProblem for an unknown one."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UsageProblem(
            f"the driver qemu cannot run {name!r} guests",
            cause=f"it knows: {known}",
            hints=["leave --platform away"],
        ) from None


def host_architecture() -> str:
    """Return the name of this host's own architecture, or what the kernel calls it."""
    machine = platform.machine()
    return _HOSTS.get(machine, machine)


def find_binary(name: str, cx: Context) -> str:
    """Return the path of QEMU: the configured one, else ``name`` on PATH. Raises HostNotReady."""
    binary = str(cx.settings.get("binary") or name)
    found = shutil.which(binary)
    if found is None:
        raise HostNotReady(
            f"{binary} is not installed",
            cause="machines are run by QEMU",
            hints=[install_command(name)],
        )
    return found


def without_name(line: str) -> str:
    """Return a line that QEMU wrote without the program's name, with which it begins."""
    name, _, rest = line.partition(": ")
    return rest if rest and name.rpartition("/")[2].startswith("qemu") else line
