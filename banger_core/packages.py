"""Programs of the host: where they are, and which package of the distribution brings them.

Standard library only.
"""

from __future__ import annotations

import os
import shutil

from banger_core.errors import HostNotReady

PACKAGES = {
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "gpgv": "gpgv",
    "ip": "iproute2",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "nft": "nftables",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-x86_64": "qemu-system-x86",
    "resize2fs": "e2fsprogs",
    "scp": "openssh-client",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "tune2fs": "e2fsprogs",
}


def install_command(program: str) -> str:
    """The command that installs ``program`` on Debian and Ubuntu."""
    return f"sudo apt-get install {PACKAGES.get(program, program)}"


def search_path() -> str:
    """Return PATH with the administrator's directories, which plain users often lack."""
    found = os.environ.get("PATH") or os.defpath
    missing = [place for place in ("/usr/sbin", "/sbin") if place not in found.split(":")]
    return ":".join([found, *missing])


def locate(name: str) -> str | None:
    """Return the full path of a program, or None when it is not installed."""
    return shutil.which(name, path=search_path())


def find_program(name: str) -> str:
    """Return the full path of a program. Raises HostNotReady naming the package to install."""
    if found := locate(name):
        return found
    raise HostNotReady(
        f"{name} is not installed",
        cause="it is neither on PATH nor in /usr/sbin or /sbin",
        hints=[install_command(name.rpartition("/")[2])],
    )
