"""Snapshots of a machine: its memory and the state of its devices, with a manifest that says what
they belong to. Firecracker checks neither the memory nor that it is itself of the right version;
that the files are those that were written is known to the core, which keeps their digests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from banger_core.api import (
    IntegrityError,
    LaunchSpec,
    host_processor,
    in_thread,
    quoted,
    write_atomic,
)
from banger_firecracker.jail import carry_out
from banger_firecracker.rest import Api

MEMORY, STATE, MANIFEST = "memory", "state", "manifest.json"

_FORMAT = 2
_LIMIT = 600.0
_MOVES_VSOCK = (1, 16, 0)
_MANIFEST_LIMIT = 1 << 16
_NO_DEVICES = ("/metrics", "/machine-config", "/boot-source")


async def write_snapshot(api: Api, spec: LaunchSpec, into: Path, version: str) -> None:
    """Write a snapshot of the machine, which must be paused, into the directory ``into``: whole,
    or nothing of it. Raises what the API raises.
    """
    places = carry_out(spec, into, (STATE, MEMORY))
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


async def load(api: Api, spec: LaunchSpec, source: Path, version: str) -> None:
    """Have a fresh Firecracker load the snapshot in ``source``, with disks, network and sockets of
    ``spec``. The machine stands still then.
    """
    body: dict[str, Any] = {
        "snapshot_path": str(source / STATE),
        "mem_backend": {"backend_type": "File", "backend_path": str(source / MEMORY)},
        "resume_vm": False,
    }
    bodies = {path: body for _, path, body in spec.data["calls"]}
    if card := bodies.get("/network-interfaces/eth0"):
        body["network_overrides"] = [
            {"iface_id": card["iface_id"], "host_dev_name": card["host_dev_name"]}
        ]
    if tuple(map(int, version.split("."))) >= _MOVES_VSOCK:
        body["vsock_override"] = {"uds_path": bodies["/vsock"]["uds_path"]}
    await api.put("/metrics", bodies["/metrics"])
    await api.put("/snapshot/load", body, limit=_LIMIT)
    for drive in (each for path, each in bodies.items() if path.startswith("/drives/")):
        change = {key: drive[key] for key in ("drive_id", "path_on_host")}
        await api.patch(f"/drives/{drive['drive_id']}", change)


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


def requirements(spec: LaunchSpec, version: str) -> Mapping[str, str]:
    """Return what must be equal where a machine that was started as ``spec``, by Firecracker of
    ``version``, is saved and where it goes on.
    """
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
