"""``digests.json``: what was kept beside ``vmlinux``, file by file, so that it can be checked."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.api import quoted, write_atomic
from banger_kernels.files import digest
from banger_kernels.manifest import MANIFEST, Manifest, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGESTS = "digests.json"

_SIZE_MAX = 64 << 20
_SHOWN = 20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OWN = (MANIFEST, DIGESTS, "vmlinux")


def write_digests(entry: Path) -> None:
    """Note the SHA-256 of every file of ``entry`` that the manifest does not vouch for."""
    found = {name: _sha256(entry / name) for name in _files(entry)}
    write_atomic(entry / DIGESTS, json.dumps(found, indent=0, sort_keys=True))


def verify(entry: Path) -> list[str]:
    """Compare the files of ``entry`` with its manifest and its digests.

    Returns what is wrong, one line for each file, at most some twenty.
    """
    try:
        manifest = read_manifest(entry / MANIFEST, entry.name)
        problems = [*_kernel(entry, manifest), *_others(entry)]
    except (OSError, ValueError) as problem:
        return [quoted(problem, 300)[1:-1]]
    more = len(problems) - _SHOWN
    return problems if more <= 0 else [*problems[:_SHOWN], f"… and {more} more"]


def _kernel(entry: Path, manifest: Manifest) -> Iterator[str]:
    found = _sha256(entry / "vmlinux")
    if found != manifest.sha256:
        yield f"vmlinux is {_short(found)}, its manifest says {_short(manifest.sha256)}"


def _others(entry: Path) -> Iterator[str]:
    present = sorted(_files(entry))
    if not os.path.lexists(entry / DIGESTS):
        if present:
            yield f"only vmlinux could be checked: there is no {DIGESTS} for the other files"
        return
    kept = _read(entry / DIGESTS)
    for name in present:
        if name not in kept:
            yield f"{_shown(name)} was not there when the kernel was kept"
            continue
        try:
            found = _sha256(entry / name)
        except (OSError, ValueError) as problem:
            yield f"{_shown(name)} cannot be read: {problem}"
            continue
        if found != kept[name]:
            yield f"{_shown(name)} is {_short(found)}, {_short(kept[name])} was kept"
    for name in sorted(kept.keys() - set(present)):
        yield f"{_shown(name)} is missing"


def _files(entry: Path) -> Iterator[str]:
    """Yield the names of all but our own files and ``vmlinux``; links are not followed."""
    for directory, links, names in os.walk(entry):
        home = Path(directory)
        linked = [name for name in links if (home / name).is_symlink()]
        for name in (*names, *linked):
            relative = str((home / name).relative_to(entry))
            if relative not in _OWN:
                yield relative


def _read(path: Path) -> dict[str, str]:
    if path.lstat().st_size > _SIZE_MAX or not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{DIGESTS} is not one of ours")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{DIGESTS} is not JSON") from problem
    if not isinstance(content, dict) or not all(
        isinstance(value, str) and _DIGEST.fullmatch(value) for value in content.values()
    ):
        raise ValueError(f"{DIGESTS} is not a list of digests")
    return content


def _sha256(path: Path) -> str:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path.name} is not a regular file")
    return digest(path).removeprefix("sha256:")


def _short(sha256: str) -> str:
    return f"sha256:{sha256[:12]}…"


def _shown(name: str) -> str:
    return quoted(name, 200)[1:-1]
