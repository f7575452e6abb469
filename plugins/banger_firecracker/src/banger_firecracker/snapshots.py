"""Snapshots of a machine: its memory and the state of its devices, with a manifest that says what
they belong to. Firecracker checks neither the memory nor that it is itself of the right version.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from banger_core.api import (
    Context,
    IntegrityError,
    LaunchSpec,
    in_thread,
    quoted,
    write_atomic,
)
from banger_firecracker.jail import carry_out
from banger_firecracker.rest import Api

MEMORY, STATE, MANIFEST = "memory", "state", "manifest.json"

_FORMAT = 1
_LIMIT = 600.0
_MOVES_VSOCK = (1, 16, 0)
_MANIFEST_LIMIT = 1 << 16
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


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
            "files": await in_thread(_describe, into),
        }
        write_atomic(into / MANIFEST, json.dumps(manifest, indent=1))
    except BaseException:
        for name in (STATE, MEMORY, MANIFEST):
            (into / name).unlink(missing_ok=True)
        places.drop()
        raise


async def load(api: Api, spec: LaunchSpec, source: Path, version: str) -> None:
    """Have a fresh Firecracker load the snapshot in ``source``, with disks, network and sockets of
    ``spec``, and let it run.
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
    await api.put("/snapshot/load", body, limit=_LIMIT)
    for drive in (each for path, each in bodies.items() if path.startswith("/drives/")):
        change = {key: drive[key] for key in ("drive_id", "path_on_host")}
        await api.patch(f"/drives/{drive['drive_id']}", change)
    await api.patch("/vm", {"state": "Resumed"})


async def check_snapshot(directory: Path, version: str, architecture: str, cx: Context) -> None:
    """Raise IntegrityError when the snapshot there is damaged, or made by another version of
    Firecracker or for another processor: before anything starts.
    """
    manifest = _manifest(directory)
    for name, here in (("version", version), ("architecture", architecture)):
        if manifest[name] != here:
            raise IntegrityError(
                f"the snapshot needs the {name} {quoted(str(manifest[name]))} of Firecracker",
                cause=f"this is {here}",
            )
    cx.progress("checking the snapshot", 0, 0)
    for name, found in (await in_thread(_describe, directory)).items():
        if manifest["files"].get(name) != found:
            raise IntegrityError(
                f"the snapshot in {directory} is damaged",
                cause=f"{name} is not the file that was written",
            )


def _manifest(directory: Path) -> dict[str, Any]:
    try:
        with (directory / MANIFEST).open("rb") as file:
            data = json.loads(file.read(_MANIFEST_LIMIT))
        files = data["files"]
        known = data["format"] == _FORMAT and data["driver"] == "firecracker"
        whole = all(_DIGEST.fullmatch(files[name]["digest"]) for name in (STATE, MEMORY))
        if not (known and whole and data["version"] and data["architecture"]):
            raise IntegrityError(f"the snapshot in {directory} is of no kind that is known")
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise IntegrityError(
            f"there is no usable snapshot in {directory}", cause=str(problem)
        ) from problem
    else:
        return dict(data)


def _describe(directory: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in (STATE, MEMORY):
        path = directory / name
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as problem:
            raise IntegrityError(
                f"the snapshot in {directory} is damaged", cause=str(problem)
            ) from problem
        found[name] = {"size": path.stat().st_size, "digest": f"sha256:{digest}"}
    return found
