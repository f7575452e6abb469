"""System calls and ioctls that Python does not bring: namespaces(7), capabilities(7), tap devices
(Linux, Documentation/networking/tuntap.rst) and bridges (linux/sockios.h).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_PDEATHSIG = 1
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_NET_ADMIN = 12

_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
_TUNATTACHFILTER = 0x401054D5
_PIDFD_GETFD = 438  # the same number on all processors

_IFF_TAP, _IFF_NO_PI, _IFF_UP = 0x2, 0x1000, 0x1
_SIOCBRADDBR, _SIOCBRADDIF = 0x89A0, 0x89A2
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C

_libc = ctypes.CDLL(None, use_errno=True)


def enter_new_network(*, user: bool) -> None:
    """Move this process into a new network namespace, with ``user`` in a new user namespace of
    which it is the only user, under its own id. Raises OSError where that is not allowed.
    """
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", CLONE_NEWNET | (CLONE_NEWUSER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def join(pid: int, *, user: bool) -> None:
    """Move this process into the network namespace, with ``user`` also into the user namespace,
    of a process. Raises OSError.
    """
    for name in ("user", "net") if user else ("net",):
        handle = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", handle, 0)
        finally:
            os.close(handle)


def make_tap(name: str, owner: int) -> None:
    """Make a tap interface that stays, and that the user ``owner`` may open."""
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    row = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
    try:
        fcntl.ioctl(handle, _TUNSETIFF, row)
        fcntl.ioctl(handle, _TUNSETOWNER, owner)
        fcntl.ioctl(handle, _TUNSETPERSIST, 1)
    finally:
        os.close(handle)


def make_bridge(name: str, address: str, netmask: str, members: tuple[str, ...]) -> None:
    """Make a bridge with an IPv4 address and ``members``, and bring it up, but not them."""
    packed = name.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        fcntl.ioctl(control, _SIOCBRADDBR, packed.ljust(16, b"\0"))
        for member in members:
            index = socket.if_nametoindex(member)
            fcntl.ioctl(control, _SIOCBRADDIF, struct.pack("16si20x", packed, index))
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, netmask)):
            four = socket.inet_aton(value)
            row = struct.pack("16sHH4s16x", packed, socket.AF_INET, 0, four)
            fcntl.ioctl(control, request, row)
    for interface in ("lo", name):
        bring_up(interface)


def bring_up(name: str) -> None:
    """Set a network interface up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), _IFF_UP))


def borrow(pid: int, handle: int) -> int:
    """Return a file descriptor of our own for one of another process of ours (pidfd_getfd(2))."""
    process = os.pidfd_open(pid)
    try:
        found: int = _libc.syscall(_PIDFD_GETFD, process, handle, 0)
        if found < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "pidfd_getfd")
        return found
    finally:
        os.close(process)


def filter_tap(tap: int, steps: bytes) -> None:
    """Attach a classic BPF program to an open tap: its reader gets only what passes."""
    buffer = ctypes.create_string_buffer(steps, len(steps))
    row = struct.pack("@HP", len(steps) // 8, ctypes.addressof(buffer))
    fcntl.ioctl(tap, _TUNATTACHFILTER, row)


def renounce() -> None:
    """Give up for good, for this process and what it becomes, every capability that a program
    could bring back: those of root, and those of set-user-id programs.
    """
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        # Refused to those who have none to give up
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capabilities(*, but_network: bool = False) -> None:
    """Give up the capabilities that this process has; ``but_network``: all but the one to change
    networks (CAP_NET_ADMIN).
    """
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    kept = 1 << _CAP_NET_ADMIN if but_network else 0
    _call("capset", header, struct.pack("6I", kept, kept, 0, 0, 0, 0))


def end_with_parent(signal: int) -> None:
    """Have the kernel send ``signal`` to this process when its parent has ended."""
    _call("prctl", _PR_SET_PDEATHSIG, signal, 0, 0, 0)


def _call(name: str, *arguments: int | bytes) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
