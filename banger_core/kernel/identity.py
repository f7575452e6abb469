"""What a kernel image says that it is: release, builder and processor."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

# A 64-bit or 32-bit file for one kind of processor (ELF header, e_machine)
_MACHINES = {3: "i386", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64", 258: "loong64"}
# The release, and who built it where; what follows is the compiler, which anybody may have
_BANNER = re.compile(rb"Linux version ([0-9][0-9A-Za-z.+~_-]{0,99}) \(([^)\n\0]{0,200})\)")
_BUILDERS = {
    rb"@lcy\d|ubuntu|canonical": "ubuntu",
    rb"debian": "debian",
    rb"buildozer@|alpine": "alpine",
    rb"fedora|\.fc\d": "fedora",
    rb"amazon|\.amzn": "amazon",
    rb"redhat|\.el\d": "rhel",
    rb"@archlinux": "arch",
    rb"geeko@|suse": "suse",
    rb"nixbld@": "nixos",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """``version`` as ``uname -r`` says it and ``distro`` in lower case, both empty when the image
    does not tell; ``architecture`` in OCI's words (``amd64``), or ``ELF machine N``.
    """

    version: str
    distro: str
    architecture: str


def identify(vmlinux: bytes) -> Identity:
    """Read an ELF kernel's own words: its banner (init/version.c) and its ELF header."""
    found = _BANNER.search(vmlinux)
    return Identity(
        version=found[1].decode() if found else "",
        distro=_distribution(found[0]) if found else "",
        architecture=_architecture(vmlinux),
    )


def _architecture(vmlinux: bytes) -> str:
    try:
        (machine,) = struct.unpack_from("<H", vmlinux, 18)
    except struct.error:
        return "unknown"
    return _MACHINES.get(machine, f"ELF machine {machine}")


def _distribution(banner: bytes) -> str:
    for pattern, name in _BUILDERS.items():
        if re.search(pattern, banner, re.IGNORECASE):
            return name
    return ""
