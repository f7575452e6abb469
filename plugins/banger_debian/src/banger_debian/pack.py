"""Take the guest's programs, and every library that they load, out of their packages."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.api import (
    EntryKind,
    GuestFiles,
    IntegrityError,
    blob_path,
    open_deb,
    read_content,
    room_in,
    secure_dir,
    sync_directory,
    write_atomic,
)
from banger_debian.elf import Needs, read_needs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from banger_core.api import GuestPin

BUILDER = 1
"""Goes up when the same packages give another pack."""

PROGRAMS = {
    "busybox": (b"bin/busybox", b"usr/bin/busybox"),
    "dropbear": (b"usr/sbin/dropbear",),
    "scp": (b"usr/bin/scp",),
    "sftp-server": (b"usr/lib/openssh/sftp-server",),
}
"""Where Debian keeps them: with and without its merged /usr."""

PACKAGES = (
    "busybox-static",
    "dropbear-bin",
    "libc6",
    "libcrypt1",
    "libgmp10",
    "libtomcrypt1",
    "libtommath1",
    "openssh-client",
    "openssh-sftp-server",
    "zlib1g",
)
"""What brings them, and the libraries that they load; ``make`` fails when one is missing."""

_TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_FILE_MAX = 64 << 20
_INDEX = "index.json"


class Pack:
    """The files of one pin: a directory in the cache that is there whole or not at all."""

    def __init__(self, cache: Path, pin: GuestPin) -> None:
        self._home = secure_dir(cache / "guest")
        self._place = self._home / blob_path(cache, pin.digest).name
        triplet = _TRIPLETS[pin.architecture].encode()
        self._library_dirs = (b"lib/" + triplet, b"usr/lib/" + triplet)

    def load(self) -> GuestFiles | None:
        """Return the files when all of them are here and unchanged, else None."""
        try:
            index = json.loads((self._place / _INDEX).read_bytes())
            for name, digest in index["files"].items():
                content = (self._place / name).read_bytes()
                if hashlib.sha256(content).hexdigest() != digest:
                    return None
            return self._files(index["files"], str(index["loader"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def make(self, debs: Iterable[Path]) -> GuestFiles:
        """Make the pack from verified packages. Raises IntegrityError and NoSpace."""
        programs, libraries = self._collect(debs)
        loader, chosen = _complete(programs, libraries)
        content = programs | {f"lib/{name}": data for name, data in chosen.items()}
        with tempfile.TemporaryDirectory(dir=self._home, prefix="new-") as scratch:
            new = Path(scratch, "pack")
            self._write(new, content, loader)
            shutil.rmtree(self._place, ignore_errors=True)
            new.rename(self._place)
        sync_directory(self._home)
        return self._files(content, loader)

    def _collect(self, debs: Iterable[Path]) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Read the programs, and all libraries by their file names with links resolved."""
        programs: dict[str, bytes] = {}
        libraries: dict[str, bytes] = {}
        links: dict[str, str] = {}
        for deb in debs:
            with open_deb(deb) as entries:
                for entry in entries:
                    directory, _, base = entry.path.rpartition(b"/")
                    name = base.decode("utf-8", "replace")
                    if directory in self._library_dirs and entry.kind is EntryKind.SYMLINK:
                        links[name] = entry.link.rpartition(b"/")[2].decode("utf-8", "replace")
                    elif directory in self._library_dirs and entry.kind is EntryKind.FILE:
                        libraries[name] = read_content(entry, _FILE_MAX)
                    else:
                        for program, places in PROGRAMS.items():
                            if entry.path in places:
                                programs[program] = read_content(entry, _FILE_MAX)
        for name, target in links.items():
            if target in libraries:
                libraries[name] = libraries[target]
        return programs, libraries

    def _write(self, new: Path, content: Mapping[str, bytes], loader: str) -> None:
        with room_in(self._home):
            secure_dir(new / "lib")
        for name, data in content.items():
            write_atomic(new / name, data, 0o700)
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
        write_atomic(new / _INDEX, json.dumps({"loader": loader, "files": digests}, indent=1))

    def _files(self, names: Iterable[str], loader: str) -> GuestFiles:
        return GuestFiles(
            programs={name: self._place / name for name in PROGRAMS},
            libraries={
                name.removeprefix("lib/"): self._place / name
                for name in names
                if name.startswith("lib/")
            },
            loader=loader,
        )


def _complete(
    programs: Mapping[str, bytes], libraries: Mapping[str, bytes]
) -> tuple[str, dict[str, bytes]]:
    """Return the loader's name, and the libraries that the programs load, directly or not."""
    missing = sorted(set(PROGRAMS) - set(programs))
    loaders = {read_needs(data).loader for data in programs.values()} - {""}
    if missing or len(loaders) != 1:
        raise IntegrityError(
            "the guest's packages are not what they should be",
            cause=f"missing: {', '.join(missing)}" if missing else "they disagree about the loader",
        )
    if read_needs(programs["busybox"]) != Needs("", ()):
        raise IntegrityError("the guest's busybox is not static")
    loader = loaders.pop()
    chosen: dict[str, bytes] = {}
    wanted = [loader, *(name for data in programs.values() for name in read_needs(data).libraries)]
    while wanted:
        name = wanted.pop()
        if name in chosen:
            continue
        if name not in libraries:
            raise IntegrityError(
                "the guest's packages are incomplete", cause=f"none of them has {name}"
            )
        chosen[name] = libraries[name]
        wanted += read_needs(chosen[name]).libraries
    return loader, chosen
