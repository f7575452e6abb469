"""Where Firecracker is, and what it can run."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from banger_core.api import Context, HostNotReady, install_command
from banger_firecracker.versions import DOWNLOAD

_HOSTS = {"x86_64": "amd64", "aarch64": "arm64"}


def host_architecture() -> str:
    """Return the name of this host's own architecture, or what the kernel calls it."""
    machine = platform.machine()
    return _HOSTS.get(machine, machine)


def find_firecracker(cx: Context) -> str:
    """Return the path of Firecracker: the configured one, else the one on PATH. Raises
    HostNotReady.
    """
    return _find(
        str(cx.settings.get("firecracker_bin") or "firecracker"),
        cause="the driver firecracker runs VMs with it",
        hints=[DOWNLOAD, "firecracker_bin in [plugins.firecracker] names it", "--driver qemu"],
    )


def find_slirp(cx: Context) -> str:
    """Return the path of slirp4netns. Raises HostNotReady."""
    return _find(
        str(cx.settings.get("slirp_bin") or "slirp4netns"),
        cause="it leads guests of the network `user` outside, without root",
        hints=[install_command("slirp4netns"), "--network none"],
    )


def _find(name: str, *, cause: str, hints: list[str]) -> str:
    found = shutil.which(name)
    if found is None:
        raise HostNotReady(f"{name} is not installed", cause=cause, hints=hints)
    # It is started in the machine's own directory
    return str(Path(found).absolute())
