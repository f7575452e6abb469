"""What a guest of banger wants of its kernel, and how to find out whether it is there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a kernel has a feature."""

    BUILT_IN = "built in"
    MODULE = "module"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a guest wants.

    ``symbols`` are the settings of the kernel's configuration that stand for it, any of them;
    ``module`` is the canonical name of its module (empty when it cannot be one); ``trace`` is a
    text that only a kernel with it built in contains. ``loss`` says what a guest without it
    misses; ``group`` names what one feature of several must give before a guest can come up.
    """

    name: str
    symbols: tuple[str, ...]
    module: str
    trace: bytes
    loss: str
    group: str = ""


DISK_BUS = "a bus for disks"

FEATURES = (
    Feature(
        "virtio_mmio",
        ("VIRTIO_MMIO",),
        "virtio_mmio",
        b"\0virtio-mmio\0",
        "no disk and no network on machines without PCI (QEMU microvm, Firecracker)",
        DISK_BUS,
    ),
    Feature(
        "virtio_pci",
        ("VIRTIO_PCI",),
        "virtio_pci",
        b"\0virtio-pci\0",
        "no disk and no network on machines with PCI only",
        DISK_BUS,
    ),
    Feature(
        "virtio_blk",
        ("VIRTIO_BLK",),
        "virtio_blk",
        b"\0virtio_blk\0",
        "the root disk is not found",
        "disks",
    ),
    Feature(
        "virtio_net",
        ("VIRTIO_NET",),
        "virtio_net",
        b"\0virtio_net\0",
        "no network, and no way in",
        "a network card",
    ),
    Feature("ext4", ("EXT4_FS",), "ext4", b"\0ext4\0", "the root disk cannot be mounted", "ext4"),
    Feature(
        "serial",
        ("SERIAL_8250_CONSOLE", "SERIAL_AMBA_PL011_CONSOLE"),
        "8250",
        b"Serial: 8250/16550 driver",
        "no serial console: nothing is seen of the boot, and banger vm console shows nothing",
    ),
    Feature(
        "devtmpfs",
        ("DEVTMPFS",),
        "",
        b"devtmpfs: initialized",
        "devices do not appear",
        "devtmpfs",
    ),
    Feature(
        "initrd",
        ("BLK_DEV_INITRD",),
        "",
        b"Initramfs unpacking failed",
        "banger's own programs are not loaded",
        "an initial RAM disk",
    ),
    Feature(
        "pvh",
        ("PVH",),
        "",
        b"",
        "no PVH entry: QEMU cannot start it (Firecracker can)",
    ),
    Feature(
        "vsock",
        ("VIRTIO_VSOCKETS",),
        "vmw_vsock_virtio_transport",
        b"\0vmw_vsock_virtio_transport\0",
        "no channel to the host but the network",
    ),
    Feature(
        "virtio_rng",
        ("HW_RANDOM_VIRTIO",),
        "virtio_rng",
        b"\0virtio_rng\0",
        "no entropy from the host: the first keys and random numbers may be slow",
    ),
)
"""In the order in which a guest needs them."""
