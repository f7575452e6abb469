"""The core's own checks for the doctor."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core import __version__
from banger_core.engine.reconcile import Reconciler
from banger_core.model import Finding, Level
from banger_core.packages import install_command, locate
from banger_core.plan.registered import problem_of
from banger_core.sizes import format_size

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

SPACE_WANTED = 5 << 30
"""Less free space than this, in bytes, is worth a warning."""

PROGRAMS = {
    "ssh": "commands, sessions and builds reach machines with it",
    "ssh-keygen": "each machine gets host keys of its own before its first boot",
    "mke2fs": "the file systems of images and work disks are made with it",
    "e2fsck": "disks are checked with it before they grow, and after a build",
    "resize2fs": "disks grow with it",
    "tune2fs": "file systems get their checksums from it",
}
OPTIONAL = {"git": "vm run PATH and workspaces take the files of a repository with it"}

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def look(engine: Engine) -> list[Finding]:
    """Return what the core finds on this host. Blocks; changes nothing."""
    return [
        *_daemon(engine),
        *_programs(),
        *_directories(engine),
        *_space(engine),
        *_defaults(engine),
        *_images(engine),
        *_left(engine),
    ]


async def mend(engine: Engine) -> list[Finding]:
    """Close what is open to others, and remove what belongs to no record."""
    done = []
    for path, mode in _open_paths(engine):
        path.chmod(mode & ~_OTHERS)
        done.append(_finding("pass", "directories", f"others are kept out of {path} now"))
    if not engine.operations.busy and (left := Reconciler(engine).unrecorded()):
        await Reconciler(engine).remove_unrecorded()
        done += [_finding("pass", "leftovers", f"{what} is gone") for what in left]
    return done


def _daemon(engine: Engine) -> Iterator[Finding]:
    yield _finding("pass", "daemon", f"bangerd {__version__} runs, process {os.getpid()}")
    file = engine.paths.settings_file
    said = f"{file} is in order" if file.exists() else f"there is no {file}: the defaults hold"
    yield _finding("pass", "configuration", said)


def _programs() -> Iterator[Finding]:
    missing = {name: why for name, why in PROGRAMS.items() if locate(name) is None}
    for name, why in missing.items():
        yield _finding("fail", name, f"{name} is missing", why, install_command(name))
    for name, why in OPTIONAL.items():
        if locate(name) is None:
            yield _finding("warn", name, f"{name} is missing", why, install_command(name))
    if not missing:
        yield _finding("pass", "programs", f"{', '.join(PROGRAMS)} are here")


def _directories(engine: Engine) -> Iterator[Finding]:
    found = list(_open_paths(engine))
    for path, mode in found:
        yield _finding(
            "warn",
            "directories",
            f"{path} is open to others (mode {mode:04o})",
            "keys, disks and what machines print are nobody else's business",
            f"banger doctor --fix, or chmod go= {path}",
        )
    if not found:
        yield _finding("pass", "directories", "what banger keeps is closed to other users")


def _open_paths(engine: Engine) -> Iterator[tuple[Path, int]]:
    """Yield what others could enter or read: a directory of ours, or a file in one that is open."""
    paths = engine.paths
    for place in (paths.config, paths.state, paths.cache, paths.runtime):
        if place.is_dir() and (mode := stat.S_IMODE(place.stat().st_mode)) & _OTHERS:
            yield place, mode
            for path in sorted(place.iterdir()):
                facts = path.lstat()
                if facts.st_mode & _OTHERS and not stat.S_ISLNK(facts.st_mode):
                    yield path, stat.S_IMODE(facts.st_mode)


def _space(engine: Engine) -> Iterator[Finding]:
    places = {"images and disks of VMs": engine.paths.state, "downloads": engine.paths.cache}
    seen = set()
    for what, place in places.items():
        if not place.exists() or (device := place.stat().st_dev) in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(place).free
        if free >= SPACE_WANTED:
            yield _finding("pass", "disk space", f"{format_size(free)} free for {place}")
        else:
            yield _finding(
                "warn",
                "disk space",
                f"only {format_size(free)} free for {place}",
                f"{what} lie there",
                "banger image cache prune; banger image list, then banger image delete NAME",
            )


def _defaults(engine: Engine) -> Iterator[Finding]:
    sizes = ("vm.memory", "image.size")
    said = [
        f"{each.key} {format_size(each.value) if each.key in sizes else each.value} ({each.origin})"
        for each in engine.settings.effective()
        if each.key in ("vm.vcpu", "vm.driver", "vm.network", *sizes)
    ]
    yield _finding("pass", "defaults", ", ".join(said))


def _images(engine: Engine) -> Iterator[Finding]:
    for image in engine.records.images():
        if problem := problem_of(image):
            yield _finding(
                "warn",
                "images",
                f"no VM can be made of {image.name}: {problem}",
                "it is registered, so its files are yours",
                f"put them back, or banger image delete {image.name}",
            )


def _left(engine: Engine) -> Iterator[Finding]:
    # What an operation is at may have no record yet
    left = [] if engine.operations.busy else Reconciler(engine).unrecorded()
    for what in left:
        yield _finding(
            "warn",
            "leftovers",
            f"{what} belongs to no VM and no image",
            "something ended early, or records were restored from a copy",
            "banger doctor --fix",
        )
    if not left:
        yield _finding("pass", "leftovers", "nothing is here that no record knows")


def _finding(level: Level, subject: str, message: str, why: str = "", fix: str = "") -> Finding:
    return Finding(level=level, subject=subject, message=message, why=why, fix=fix)
