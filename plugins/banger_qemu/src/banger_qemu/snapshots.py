"""Snapshots of a machine that QEMU runs: its memory and devices in one file, and what that asks of
the QEMU that is to go on with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from banger_core.api import (
    GuestFailed,
    IntegrityError,
    LaunchSpec,
    host_processor,
    in_thread,
    room_in,
    sync_directory,
)
from banger_qemu.command import MEMORY_BEHIND
from banger_qemu.migrate import save
from banger_qemu.qmp import Qmp

STATE = "state"
"""The file."""

_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?")


async def write_state(qmp: Qmp, into: Path, *, shared: bool = True) -> None:
    """Write the state of a machine that stands still into the directory ``into``, whole or not at
    all; ``shared`` as for ``save``. Raises GuestFailed, and NoSpace.
    """
    place = into / STATE
    try:
        with room_in(into):
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            await save(qmp, file, shared=shared)
            await in_thread(lambda: _make_durable(file, into))
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def open_state(source: Path) -> AbstractContextManager[IO[bytes]]:
    """Open the state in the directory ``source``. Raises IntegrityError where there is none."""
    try:
        return os.fdopen(os.open(source / STATE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except OSError as problem:
        raise IntegrityError("the snapshot has no state", cause=str(problem)) from problem


def requirements(spec: LaunchSpec, version: str) -> Mapping[str, str]:
    """Return what must be equal where a machine that was started as ``spec``, by QEMU of
    ``version``, is saved and where it goes on.
    """
    options = list(zip(spec.argv, spec.argv[1:], strict=False))

    def given(option: str) -> list[str]:
        return [value.partition(",")[0] for name, value in options if name == option]

    accel = given("-accel")[0]
    return {
        "qemu": version,
        # Where its memory comes from is nothing of the machine
        "machine": dict(options)["-machine"].partition(MEMORY_BEHIND)[0],
        "accel": accel,
        # Under emulation too: the guest counts time by the host's own counter
        "processor": f"{given('-cpu')[0]} on {host_processor()}",
        "memory": given("-m")[0],
        "cpus": given("-smp")[0],
        "devices": " ".join(given("-device")),
    }


async def running_version(qmp: Qmp) -> str:
    """Return the version of a QEMU that runs: the installed one may be another by now."""
    found = await qmp.execute("query-version")
    try:
        return "{major}.{minor}.{micro}".format(**found["qemu"])
    except (KeyError, TypeError) as problem:
        raise GuestFailed("QEMU does not tell its version", cause=repr(found)[:100]) from problem


def written_version(text: str) -> str:
    """Return the version in what ``qemu --version`` prints. Raises GuestFailed."""
    if found := _VERSION.search(text):
        return found[0]
    raise GuestFailed("QEMU does not tell its version", cause=text[:100])


def _make_durable(file: IO[bytes], directory: Path) -> None:
    os.fsync(file.fileno())
    sync_directory(directory)
