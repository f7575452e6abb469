"""Kernels without any code in them, that say of themselves whatever a test wants."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from pathlib import Path

RELEASE = "6.1.0-9-test-amd64"

COMPLETE = dict.fromkeys(
    (
        *("VIRTIO_MMIO", "VIRTIO_PCI", "VIRTIO_BLK", "VIRTIO_NET", "EXT4_FS"),
        *("SERIAL_8250_CONSOLE", "DEVTMPFS", "BLK_DEV_INITRD"),
        *("VIRTIO_VSOCKETS", "HW_RANDOM_VIRTIO"),
    ),
    "y",
)
"""A configuration with everything that a guest wants built in."""

_PVH_NOTE = struct.pack("<III", 4, 8, 18) + b"Xen\0" + struct.pack("<Q", 0x1000850)


def make_vmlinux(
    *,
    release: str = RELEASE,
    machine: int = 62,
    configuration: Mapping[str, str] | None = COMPLETE,
    builder: str = "debian-kernel@lists.debian.org",
    pvh: bool = True,
    texts: bytes = b"",
) -> bytes:
    """Return an ELF kernel whose banner says ``release`` and ``builder`` (empty: no banner).

    ``machine`` is the ELF file's (62: amd64, 183: arm64), ``configuration`` what it carries inside
    (None: nothing), ``texts`` what else lies in it.
    """
    notes = _PVH_NOTE if pvh else b""
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    banner = f"\0Linux version {release} ({builder}) (gcc 12) #1 SMP\n\0".encode()
    carried = b""
    if configuration is not None:
        text = configuration_text(configuration).encode()
        carried = b"IKCFG_ST" + gzip.compress(text, mtime=0) + b"IKCFG_ED"
    return header + segment + notes + (banner if release else b"") + carried + texts + bytes(4096)


def make_bzimage(payload: bytes, *, sectors: int = 4, protocol: int = 0x20F) -> bytes:
    """Return an x86 boot image around a packed kernel (Documentation/arch/x86/boot.rst)."""
    image = bytearray((sectors + 1) * 512)
    image[0x1F1] = sectors % 4 and sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    return bytes(image) + bytes(16) + payload + b"after"


def configuration_text(settings: Mapping[str, str]) -> str:
    """Return a kernel's ``.config``."""
    lines = [f"CONFIG_{name}={value}\n" for name, value in settings.items()]
    return "# Linux kernel configuration\n# CONFIG_OTHER is not set\n" + "".join(lines)


def make_modules(directory: Path, *names: str, release: str = RELEASE, builtin: str = "") -> Path:
    """Make a directory of modules for ``release``: files for ``names``, and ``builtin`` (words)
    in ``modules.builtin``. Returns it.
    """
    tree = directory / "kernel" / "drivers"
    tree.mkdir(parents=True)
    for name in names:
        (tree / f"{name}.ko").write_bytes(b"\x7fELF\0vermagic=" + f"{release} SMP \0".encode())
    listed = "".join(f"kernel/{name}.ko\n" for name in builtin.split())
    (directory / "modules.builtin").write_text(listed)
    return directory
