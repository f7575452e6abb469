"""Which package of the distribution brings a program. Standard library only."""

from __future__ import annotations

PACKAGES = {
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "gpgv": "gpgv",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
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
