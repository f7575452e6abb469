"""Snapshots of a machine: its memory and the state of its devices, with a manifest that says what
they belong to. Firecracker checks neither the memory nor that it is itself of the right version;
that the files are those that were written is known to the core, which keeps their digests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from banger_core.api import (
    Conflict,
    HostNotReady,
    IntegrityError,
    LaunchSpec,
    host_processor,
    in_thread,
    quoted,
    write_atomic,
)
from banger_firecracker import jail
from banger_firecracker.config import CARD
from banger_firecracker.rest import Api
from banger_firecracker.versions import DOWNLOAD

MEMORY, STATE, MANIFEST = "memory", "state", "manifest.json"

_FORMAT = 3
_LIMIT = 600.0
_MOVES_CARDS = (1, 12, 0)
_MANIFEST_LIMIT = 1 << 16
_NO_DEVICES = ("/metrics", "/machine-config", "/boot-source")


async def write_snapshot(api: Api, spec: LaunchSpec, into: Path, version: str) -> None:
    """Write a snapshot of the machine, which must be paused, into the directory ``into``: whole,
    or nothing of it. Raises what the API raises.
    """
    places = jail.carry_out(spec, into, (STATE, MEMORY))
    body = {
        "snapshot_type": "Full",
        "snapshot_path": str(places.inside[STATE]),
        "mem_file_path": str(places.inside[MEMORY]),
    }
    try:
        await api.put("/snapshot/create", body, limit=_LIMIT)
        places.bring()
        manifest = {
            "format": _FORMAT,
            "driver": "firecracker",
            "version": version,
            "architecture": spec.data["architecture"],
            "calls": spec.data["calls"],
            "files": _sizes(into),
        }
        await in_thread(_make_durable, into)
        write_atomic(into / MANIFEST, json.dumps(manifest, indent=1))
    except BaseException:
        for name in (STATE, MEMORY, MANIFEST):
            (into / name).unlink(missing_ok=True)
        places.drop()
        raise


async def load(
    api: Api, spec: LaunchSpec, source: Path, settings: Mapping[str, Any] | None
) -> None:
    """Have a fresh Firecracker, in the jail that ``settings`` describe or in none, load the
    snapshot in ``source``. Its disks and its socket for vsock are those in its own working
    directory, its network interface is that of ``spec``. The machine stands still then.
    """
    calls = {path: body for _, path, body in jail.calls_of(spec)}
    names = (STATE, MEMORY)
    inside = await in_thread(partial(jail.carry_in, spec, source, names, settings))
    body: dict[str, Any] = {
        "snapshot_path": str(inside[STATE]),
        "mem_backend": {"backend_type": "File", "backend_path": str(inside[MEMORY])},
        "resume_vm": False,
    }
    if card := calls.get(CARD):
        body["network_overrides"] = [{key: card[key] for key in ("iface_id", "host_dev_name")}]
    await api.put("/metrics", calls["/metrics"])
    await api.put("/snapshot/load", body, limit=_LIMIT)
    jail.carry_off(spec, names)


def check_snapshot(directory: Path, version: str, architecture: str) -> None:
    """Raise IntegrityError when the snapshot there is not whole, or made by another version of
    Firecracker or for another processor: before anything starts.
    """
    manifest = _manifest(directory)
    for name, here in (("version", version), ("architecture", architecture)):
        if manifest[name] != here:
            raise IntegrityError(
                f"the snapshot needs the {name} {quoted(str(manifest[name]))} of Firecracker",
                cause=f"this is {here}",
            )
    for name, size in _sizes(directory).items():
        if manifest["files"].get(name) != size:
            raise IntegrityError(
                f"the snapshot in {directory} is damaged",
                cause=f"{name} is not the file that was written",
            )


def check_movable(spec: LaunchSpec, version: str) -> None:
    """Raise HostNotReady when Firecracker of ``version`` cannot give a machine that it loads the
    network interface of ``spec``.
    """
    has_card = any(path == CARD for _, path, _ in spec.data["calls"])
    if has_card and tuple(map(int, version.split("."))) < _MOVES_CARDS:
        raise HostNotReady(
            f"Firecracker {version} cannot connect a restored machine",
            cause="before 1.12 it knows no network_overrides: its card stays where it was",
            hints=[f"install a newer one: {DOWNLOAD}", "--network none, for a new machine"],
        )


def requirements(spec: LaunchSpec, version: str) -> Mapping[str, str]:
    """Return what must be equal where a machine that was started as ``spec``, by Firecracker of
    ``version``, is saved and where it goes on. Raises Conflict for a machine whose snapshot would
    know its disks by the places where they are now.
    """
    if "disks" not in spec.data:
        raise Conflict(
            "this machine cannot be saved: its memory would lead to its disks only",
            cause="it was started by an older banger",
            hints=["banger vm restart NAME"],
        )
    bodies = {path: body for _, path, body in spec.data["calls"]}
    machine = bodies["/machine-config"]
    return {
        "firecracker": version,
        "architecture": spec.data["architecture"],
        "processor": host_processor(),
        "memory": f"{machine['mem_size_mib']}M",
        "cpus": str(machine["vcpu_count"]),
        "devices": " ".join(sorted(path for path in bodies if path not in _NO_DEVICES)),
    }


def _manifest(directory: Path) -> dict[str, Any]:
    try:
        with (directory / MANIFEST).open("rb") as file:
            data = json.loads(file.read(_MANIFEST_LIMIT))
        if data["format"] in range(1, _FORMAT):
            raise IntegrityError(
                f"the snapshot in {directory} cannot be used any more",
                cause="an older banger wrote it: it leads to the disks of then",
                hints=["banger vm snapshot delete VM NAME, and take another one"],
            )
        files = data["files"]
        known = data["format"] == _FORMAT and data["driver"] == "firecracker"
        whole = all(isinstance(files[name], int) for name in (STATE, MEMORY))
        if not (known and whole and data["version"] and data["architecture"]):
            raise IntegrityError(f"the snapshot in {directory} is of no kind that is known")
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise IntegrityError(
            f"there is no usable snapshot in {directory}", cause=str(problem)
        ) from problem
    else:
        return dict(data)


def _sizes(directory: Path) -> dict[str, int]:
    try:
        return {name: (directory / name).stat().st_size for name in (STATE, MEMORY)}
    except OSError as problem:
        raise IntegrityError(
            f"the snapshot in {directory} is damaged", cause=str(problem)
        ) from problem


def _make_durable(directory: Path) -> None:
    for name in (STATE, MEMORY):
        with (directory / name).open("rb") as file:
            os.fsync(file.fileno())
