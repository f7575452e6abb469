"""The command line of QEMU for one VM, as a pure function of what was decided."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from banger_core.api import WARM_WORD, Fence, NetPlan, UsageProblem, VmDirs, VmPlan
from banger_qemu.gate import CARD_HUB, NETWORK_HUB
from banger_qemu.machines import Architecture, architecture

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

CONSOLE = "console"
"""QEMU's name of the character device behind the serial console."""


HELPER = "helper"
"""QEMU's name of the character device behind the guest helper's port."""


MEMORY_BEHIND = ",memory-backend="
"""What comes last of the machine's options and names an object behind its memory."""


@dataclass(frozen=True, slots=True)
class RamFile:
    """The guest's memory in a file: what ``shared`` writes to it stays there."""

    path: Path
    shared: bool


def command_line(
    plan: VmPlan,
    dirs: VmDirs,
    accel: str,
    tsc_khz: int | None,
    sockets: Mapping[str, Path],
    ram: RamFile | None = None,
) -> tuple[str, ...]:
    """Return QEMU's arguments, the program first. ``sockets`` are its ``qmp``, ``console`` and
    ``helper``.
    """
    parts = architecture(plan.kernel.architecture)
    disks = {
        "root": _written(plan.disk_format, dirs.root_disk),
        "seed": _file("raw", dirs.seed) | {"read-only": True},
    }
    if dirs.work_disk:
        disks["work"] = _written("raw", dirs.work_disk)
    words = kernel_command_line(parts, accel, tsc_khz)
    rest = (*_disks(parts, disks), *_network(parts, plan.net))
    return _machine(plan, dirs, accel, words, sockets, rest, ram)


def waiting_command_line(
    plan: VmPlan,
    dirs: VmDirs,
    accel: str,
    tsc_khz: int | None,
    sockets: Mapping[str, Path],
    ram: RamFile,
) -> tuple[str, ...]:
    """Return the arguments of a QEMU with the same devices as for ``command_line``, and nothing
    behind them, whose guest waits for what belongs to one VM.
    """
    parts = architecture(plan.kernel.architecture)
    nothing = {"driver": "null-co", "size": 1 << 20, "read-zeroes": True}
    disks = {
        "root": nothing,
        "seed": nothing | {"read-only": True},
        **({"work": nothing} if dirs.work_disk else {}),
    }
    card: tuple[str, ...] = ()
    if plan.net.kind != "none":
        card = ("-netdev", f"hubport,id=net,hubid={CARD_HUB}", *_card(parts, "net"))
    words = f"{kernel_command_line(parts, accel, tsc_khz)} {WARM_WORD}"
    nobody = replace(plan, name="warm")
    return _machine(nobody, dirs, accel, words, sockets, (*_disks(parts, disks), *card), ram)


def _machine(
    plan: VmPlan,
    dirs: VmDirs,
    accel: str,
    words: str,
    sockets: Mapping[str, Path],
    disks_and_card: tuple[str, ...],
    ram: RamFile | None,
) -> tuple[str, ...]:
    parts = architecture(plan.kernel.architecture)
    return (
        *base(parts, accel, memory=plan.memory, vcpu=plan.vcpu, ram=ram),
        *("-name", f"guest={plan.name}"),
        *("-kernel", str(dirs.kernel), "-initrd", str(dirs.initrd)),
        *("-append", words),
        *_socket(CONSOLE, sockets["console"]),
        *("-serial", f"chardev:{CONSOLE}"),
        *_socket("qmp", sockets["qmp"]),
        *("-mon", "chardev=qmp,mode=control"),
        *disks_and_card,
        *_socket(HELPER, sockets["helper"]),
        *("-device", f"virtio-serial-{parts.bus},max_ports=2"),
        *("-device", f"virtserialport,chardev={HELPER},name=banger.helper"),
        *("-device", f"virtio-rng-{parts.bus}"),
        *(("-device", parts.panic_device) if parts.panic_device else ()),
        *("-action", "panic=exit-failure"),
    )


def base(
    parts: Architecture, accel: str, *, memory: int, vcpu: int, ram: RamFile | None = None
) -> tuple[str, ...]:
    """Return what every QEMU of ours is started with; ``memory`` in bytes."""
    # A small cache of translated code costs little time and saves much memory per VM
    how = "kvm" if accel == "kvm" else "tcg,thread=multi,tb-size=64"
    machine = parts.machine
    behind: tuple[str, ...] = ()
    if ram is not None:
        machine += f"{MEMORY_BEHIND}{parts.memory}"
        behind = ("-object", _memory(parts, memory, ram))
    return (
        parts.binary,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-sandbox", SANDBOX),
        *("-machine", machine, "-accel", how),
        *("-cpu", "host" if accel == "kvm" else "max"),
        *("-m", f"{memory >> 20}M", "-smp", str(vcpu)),
        *behind,
    )


def _memory(parts: Architecture, memory: int, ram: RamFile) -> str:
    # Named as the machine's own memory is, in what is saved of it, too: a VM's snapshot says
    # nothing about how the VM was started
    return (
        f"memory-backend-file,id={parts.memory},x-use-canonical-path-for-ramblock-id=off,"
        f"size={memory >> 20}M,mem-path={escape(ram.path)},share={'on' if ram.shared else 'off'}"
    )


def kernel_command_line(parts: Architecture, accel: str, tsc_khz: int | None) -> str:
    """Return the guest kernel's parameters. No secrets: every process of the guest reads them."""
    words = [f"console={parts.console}", "panic=-1", "quiet", *parts.kernel_words]
    if accel == "tcg":
        # Self-tests and code patching take long under emulation and are of no use there
        words += ["cryptomgr.notests", "noreplace-smp"]
        if tsc_khz is not None:
            words.append(f"tsc_early_khz={tsc_khz}")
    return " ".join(words)


def escape(value: object) -> str:
    """Return ``value`` for a place among QEMU's comma-separated options."""
    return str(value).replace(",", ",,")


def _socket(name: str, path: Path) -> tuple[str, str]:
    return "-chardev", f"socket,id={name},path={escape(path)},server=on,wait=off"


def _written(format_: str, path: Path) -> dict[str, Any]:
    node = _file(format_, path) | {"discard": "unmap"}
    node["file"]["discard"] = "unmap"
    return node


def _file(format_: str, path: Path) -> dict[str, Any]:
    return {"driver": format_, "file": {"driver": "file", "filename": str(path)}}


def _disks(parts: Architecture, nodes: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    # The guest tells the disks apart by their order
    for name, node in nodes.items():
        named = {"node-name": name, **node}
        yield from ("-blockdev", json.dumps(named, separators=(",", ":")))
        yield from ("-device", f"virtio-blk-{parts.bus},drive={name},serial=banger-{name}")


def _card(parts: Architecture, netdev: str, mac: str = "") -> tuple[str, str]:
    address = f",mac={mac}" if mac else ""
    return "-device", f"virtio-net-{parts.bus},netdev={netdev}{address}"


def _network(parts: Architecture, net: NetPlan) -> tuple[str, ...]:
    if net.kind == "none":
        return ()
    if net.kind == "tap":
        tap = f"tap,id=net,ifname={escape(net.tap)},script=no,downscript=no"
        return ("-netdev", tap, *_card(parts, "net", net.mac))
    if net.kind != "user":
        raise UsageProblem(
            f"the driver qemu cannot connect a network of kind {net.kind!r}",
            cause="it knows: none, tap, user",
            hints=["--network user"],
        )
    guest = ip_interface(net.guest_address)
    options = ["user", "id=net", "ipv6=off", f"net={guest.network}", f"dhcpstart={guest.ip}"]
    if net.gateway:
        options.append(f"host={net.gateway}")
    if net.nameserver:
        options.append(f"dns={net.nameserver}")
    if not net.outbound and not net.host_access:
        options.append("restrict=on")
    options += [
        f"hostfwd={forward.protocol}:{forward.host_address}:{forward.host_port}"
        f"-{guest.ip}:{forward.guest_port}"
        for forward in net.forwards
    ]
    if Fence.around(net) is None:
        return ("-netdev", ",".join(options), *_card(parts, "net", net.mac))
    # Card and network are apart until the gate between them opens
    return (
        *("-netdev", ",".join(options)),
        *("-netdev", f"hubport,id=net-hub,hubid={NETWORK_HUB},netdev=net"),
        *("-netdev", f"hubport,id=card,hubid={CARD_HUB}"),
        *_card(parts, "card", net.mac),
    )
