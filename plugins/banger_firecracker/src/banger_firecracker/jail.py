"""Firecracker in its jailer (its docs/jailer.md): a directory as its whole world, another user, a
control group. Only root can make one.

What the machine needs is brought into the jail: copies of what it reads, hard links to its disks.
Sockets in the jail are reached by symbolic links in the runtime directory, whose paths are short.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from banger_core.api import BangerError, HostNotReady, LaunchSpec, copy_sparse, room_in
from banger_firecracker.config import VSOCK, Call
from banger_firecracker.host.options import LOG_FIFO, METRICS_FIFO

_CGROUPS = Path("/sys/fs/cgroup")
_SOCKETS = {"api": "api.sock", "vsock": VSOCK}
_COPIED = ("kernel_image_path", "initrd_path")


def jail_root(spec: LaunchSpec, binary: str) -> Path:
    """Where the jailer makes the root of the VM's world."""
    return _place(spec) / Path(binary).name / str(spec.data["id"]) / "root"


def command_line(
    spec: LaunchSpec, binary: str, jailer: str, settings: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the jailer's arguments, the program first; pure."""
    optional: list[str] = []
    for group in settings["cgroups"]:
        optional += ["--cgroup", group]
    for option, name in (("--parent-cgroup", "parent_cgroup"), ("--netns", "netns")):
        if settings[name]:
            optional += [option, settings[name]]
    return (
        jailer,
        *("--id", spec.data["id"], "--exec-file", binary),
        *("--uid", str(settings["uid"]), "--gid", str(settings["gid"])),
        *("--chroot-base-dir", str(_place(spec))),
        *("--cgroup-version", str(settings["cgroup_version"])),
        *optional,
        *("--", "--api-sock", "/api.sock", "--log-path", f"/{LOG_FIFO}"),
        *spec.argv[spec.argv.index("--level") :],
    )


def jailed_calls(calls: list[Call]) -> list[Call]:
    """Return the requests with every path as it is in the jail; pure."""
    return [(method, path, _inside(body)) for method, path, body in calls]


def calls_of(spec: LaunchSpec) -> list[Call]:
    """Return the requests that describe a machine whose Firecracker is started, jailed or not."""
    calls = [(call[0], call[1], call[2]) for call in spec.data["calls"]]
    return calls if _root(spec) is None else jailed_calls(calls)


def fill(spec: LaunchSpec, binary: str, settings: Mapping[str, Any]) -> None:
    """Make the jail anew with everything that the machine needs. Raises HostNotReady."""
    if os.geteuid() != 0:
        raise HostNotReady(
            "only root can run Firecracker in its jailer",
            cause="[plugins.firecracker.jail] is configured, and this daemon is not root's",
            hints=["banger config path"],
        )
    place, root = _place(spec), jail_root(spec, binary)
    try:
        if place.exists():
            shutil.rmtree(place)
        root.mkdir(parents=True, mode=0o700)
        for name, file in _SOCKETS.items():
            spec.sockets[name].symlink_to(root / file)
        for _, path, body in spec.data["calls"]:
            _bring(spec, path, body, root, settings)
    except OSError as problem:
        raise HostNotReady("the jail cannot be made", cause=str(problem)) from problem


def clean(spec: LaunchSpec) -> None:
    """Remove the jail, and the control group that the jailer made; the disks themselves stay."""
    place = _place(spec)
    if not place.exists():
        return
    for _, path, body in spec.data["calls"]:
        if path.startswith("/drives/") and not body["is_read_only"]:
            with suppress(OSError):
                os.chown(_disk(spec, body["path_on_host"]), os.geteuid(), os.getegid())
    with suppress(OSError):
        shutil.rmtree(place)
    for group in _CGROUPS.rglob(spec.data["id"]):
        with suppress(OSError):
            group.rmdir()


def check_jailer(settings: Mapping[str, Any]) -> str:
    """Return the jailer's path. Raises HostNotReady when it is not installed."""
    found = shutil.which(str(settings["jailer_bin"]))
    if found is None:
        raise HostNotReady(
            f"{settings['jailer_bin']} is not installed",
            cause="[plugins.firecracker.jail] asks for Firecracker's jailer",
            hints=["jailer_bin in [plugins.firecracker.jail] names it"],
        )
    return found


@dataclass(frozen=True, slots=True)
class Places:
    """Where Firecracker writes files that are to be in the directory ``into``: ``inside`` as it
    sees them, ``outside`` as we do.
    """

    into: Path
    inside: dict[str, Path]
    outside: dict[str, Path]

    def bring(self) -> None:
        """Move what was written to its directory."""
        for name, path in self.outside.items():
            if path != self.into / name:
                shutil.move(path, self.into / name)
                # Whoever is in the jail could have put a link there
                os.chown(self.into / name, os.geteuid(), os.getegid(), follow_symlinks=False)

    def drop(self) -> None:
        """Remove what was written."""
        for path in self.outside.values():
            path.unlink(missing_ok=True)


def carry_out(spec: LaunchSpec, into: Path, names: tuple[str, ...]) -> Places:
    """Say where a machine, jailed or not, can write files for the directory ``into``."""
    root = _root(spec)
    if root is None:
        same = {name: into / name for name in names}
        return Places(into, same, same)
    return Places(
        into, {name: Path("/", name) for name in names}, {name: root / name for name in names}
    )


def carry_in(
    spec: LaunchSpec, source: Path, names: tuple[str, ...], settings: Mapping[str, Any] | None
) -> dict[str, Path]:
    """Say where a machine, jailed or not, finds files of the directory ``source``. A jail gets
    copies, so that what is in it can change nothing outside. Blocks. Raises NoSpace and OSError.
    """
    root = _root(spec)
    if root is None or settings is None:
        return {name: source / name for name in names}
    with room_in(root):
        for name in names:
            copy = root / name
            copy.touch(mode=0o400, exist_ok=False)
            copy_sparse(source / name, copy)
            os.chown(copy, settings["uid"], settings["gid"])
    return {name: Path("/", name) for name in names}


def carry_off(spec: LaunchSpec, names: tuple[str, ...]) -> None:
    """Remove what ``carry_in`` copied; what Firecracker has mapped of it stays there for it."""
    if (root := _root(spec)) is not None:
        for name in names:
            (root / name).unlink(missing_ok=True)


def _root(spec: LaunchSpec) -> Path | None:
    """Return the root of the jail that a machine is in, None for one that is in none."""
    api = spec.sockets["api"]
    return api.resolve().parent if api.is_symlink() else None


def _disk(spec: LaunchSpec, name: str) -> Path:
    return Path(spec.data.get("disks", {}).get(name, name))


def _place(spec: LaunchSpec) -> Path:
    return Path(spec.data["state"]) / "jail"


def _inside(body: dict[str, Any]) -> dict[str, Any]:
    changed = dict(body)
    for key in _COPIED:
        if key in body:
            changed[key] = f"/{key}"
    if "metrics_path" in body:
        changed["metrics_path"] = f"/{METRICS_FIFO}"
    return changed


def _bring(
    spec: LaunchSpec, path: str, body: dict[str, Any], root: Path, settings: Mapping[str, Any]
) -> None:
    inside = _inside(body)
    for key in (*_COPIED, "path_on_host"):
        if key not in body:
            continue
        source, target = _disk(spec, body[key]), root / inside[key].removeprefix("/")
        if path.startswith("/drives/") and not body["is_read_only"]:
            target.hardlink_to(source)
        else:
            shutil.copyfile(source, target)
            target.chmod(0o400)
        os.chown(target, settings["uid"], settings["gid"])


def settings_of(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the section of the jail with its defaults; None when there is none."""
    from banger_firecracker.settings import JailSettings

    given = settings.get("jail")
    if not given:
        return None
    try:
        return JailSettings.model_validate(given).model_dump()
    except ValueError as problem:
        raise BangerError(
            "[plugins.firecracker.jail] is wrong", cause=str(problem), hints=["banger config path"]
        ) from problem
