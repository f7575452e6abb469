"""Giving up what is not needed (capabilities(7))."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

NET_ADMIN = 12
"""Number of CAP_NET_ADMIN."""

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_VERSION_3 = 0x20080522
_LAST = Path("/proc/sys/kernel/cap_last_cap")


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = tuple(
        (f"{name}{half}", ctypes.c_uint32)
        for half in (0, 1)
        for name in ("effective", "permitted", "inheritable")
    )


def keep_net_admin() -> None:
    """Let this process, and what it starts, be able to change networks and nothing else.

    Raises OSError when the kernel refuses. Without root's powers there is nothing to give up.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _call(libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() != 0:
        return
    for number in range(int(_LAST.read_text()) + 1):
        if number != NET_ADMIN:
            with suppress(PermissionError):
                _call(libc.prctl, _PR_CAPBSET_DROP, number, 0, 0, 0)
    keep = 1 << NET_ADMIN
    sets = _Sets(effective0=keep, permitted0=keep, inheritable0=keep)
    _call(libc.capset, ctypes.byref(_Header(_VERSION_3, 0)), ctypes.byref(sets))


def has_net_admin(status: Path = Path("/proc/self/status")) -> bool:
    """Say whether programs that this process starts can change networks."""
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    held = lines["CapEff" if os.geteuid() == 0 else "CapAmb"]
    return bool(int(held, 16) >> NET_ADMIN & 1)


def _call(function: ctypes._NamedFuncPointer, *arguments: object) -> None:
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
