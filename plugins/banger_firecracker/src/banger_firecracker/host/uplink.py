"""The way out: slirp4netns(1), which turns a guest's packets into ordinary sockets of this user."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path

from banger_firecracker.host import kernel
from banger_firecracker.host.options import UPLINK, Network

_READY_LIMIT = 10.0


class UplinkError(Exception):
    """Why slirp4netns does not run."""


def command(network: Network, vmm: int, ready: int, alive: int) -> list[str]:
    """Return its command line. ``ready`` and ``alive`` are file descriptors: it writes to the one,
    and ends when the other does.
    """
    loopback = [] if network.host_access else ["--disable-host-loopback"]
    return [
        network.slirp,
        *("--cidr", network.cidr, "--mtu", "1500"),
        *loopback,
        *("--enable-sandbox", "--enable-seccomp"),
        *("--ready-fd", str(ready), "--exit-fd", str(alive)),
        *(str(vmm), UPLINK),
    ]


def start(network: Network, vmm: int) -> subprocess.Popen[bytes]:
    """Connect the network namespace of the process ``vmm`` to the outside; returns when it is.

    Raises UplinkError and OSError.
    """
    ready, tells = os.pipe()
    alive, _held = os.pipe()
    try:
        # Its end of the other pipe is held, unread, as long as this process lives
        process = subprocess.Popen(
            command(network, vmm, tells, alive),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(tells, alive),
        )
        os.close(tells)
        tells = -1
        readable, _, _ = select.select([ready], [], [], _READY_LIMIT)
        if not readable or not os.read(ready, 1):
            process.kill()
            process.wait()
            raise UplinkError(f"{network.slirp} does not get ready")
        try:
            if network.fence:
                _fence(process.pid, bytes.fromhex(network.fence))
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process
    finally:
        for handle in (ready, alive, tells):
            if handle >= 0:
                os.close(handle)


def _fence(pid: int, steps: bytes) -> None:
    """Have the kernel filter what slirp4netns receives from the guest. Its interface takes a
    filter from whoever holds its file descriptor, and keeps it.
    """
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if str(link.readlink()) == "/dev/net/tun":
            tap = kernel.borrow(pid, int(link.name))
            try:
                kernel.filter_tap(tap, steps)
            finally:
                os.close(tap)
            return
    raise UplinkError("slirp4netns has no network interface")
