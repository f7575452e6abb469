"""Programs of the host: where they are, and which package of the distribution brings them.

Standard library only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

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
    "unshare": "util-linux",
}
"""The package of each program on Debian, where the two are not called the same."""

OTHERS = {
    "fedora": {
        "debian-archive-keyring": "debian-keyring",
        "gpgv": "gnupg2",
        "ip": "iproute",
        "newuidmap": "shadow-utils",
        "qemu-system-aarch64": "qemu-system-aarch64",
        "scp": "openssh-clients",
        "ssh": "openssh-clients",
        "ssh-keygen": "openssh",
    },
    "arch": {
        "gpgv": "gnupg",
        "newuidmap": "shadow",
        "qemu-system-aarch64": "qemu-system-aarch64",
        "scp": "openssh",
        "ssh": "openssh",
        "ssh-keygen": "openssh",
    },
    "suse": {
        "gpgv": "gpg2",
        "newuidmap": "shadow",
        "qemu-system-aarch64": "qemu-arm",
        "qemu-system-x86_64": "qemu-x86",
        "scp": "openssh-clients",
        "ssh": "openssh-clients",
        "ssh-keygen": "openssh-common",
    },
    "alpine": {
        "debugfs": "e2fsprogs-extra",
        "newuidmap": "shadow-uidmap",
        "qemu-system-aarch64": "qemu-system-aarch64",
        "qemu-system-x86_64": "qemu-system-x86_64",
        "resize2fs": "e2fsprogs-extra",
        "ssh-keygen": "openssh-keygen",
        "tune2fs": "e2fsprogs-extra",
    },
}
"""Where packages of other distributions are called otherwise than Debian's."""

MANAGERS = {
    "debian": "apt-get install",
    "fedora": "dnf install",
    "arch": "pacman -S",
    "suse": "zypper install",
    "alpine": "apk add",
}

_KINS = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora", "opensuse": "suse"}
_RELEASES = (Path("/etc/os-release"), Path("/usr/lib/os-release"))


def install_command(program: str) -> str:
    """Return the command that installs ``program`` on this distribution, or words that say what to
    install where that is not known. ``program`` may also be a package by its name on Debian.
    """
    family = distribution()
    package = OTHERS.get(family, {}).get(program) or PACKAGES.get(program, program)
    if family in MANAGERS:
        return f"sudo {MANAGERS[family]} {package}"
    return f"install {package} with the package manager of this system"


def distribution(releases: Iterable[Path] = _RELEASES) -> str:
    """Return the family of distributions that this host belongs to, a key of ``MANAGERS``, or
    nothing when it is none of them. ``releases`` are files of which the first counts that can be
    read (os-release(5)).
    """
    for place in releases:
        try:
            said = _variables(place.read_text("utf-8", "replace"))
        except OSError:
            continue
        names = f"{said.get('ID', '')} {said.get('ID_LIKE', '')}".split()
        found = (_KINS.get(name, name) for name in names)
        return next((name for name in found if name in MANAGERS), "")
    return ""


def _variables(text: str) -> dict[str, str]:
    """The assignments in ``text``, whose values are quoted as for a shell or not at all."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value.strip().strip("\"'") for name, _, value in pairs}


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
