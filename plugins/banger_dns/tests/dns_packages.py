"""Programs of this system's own archive that must not be installed where tests run: they would
take over its resolver. They are unpacked, and seen in the namespaces of a scene only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from banger_core.store.locks import FileLock
from banger_core.testing.wheels import shared_cache

_LIMIT = 300.0


class Unavailable(Exception):
    """A package that cannot be had here, and why."""


def unpacked(package: str) -> Path:
    """Return a folder with ``package`` and whatever it needs that is not installed here, kept
    between runs. apt checks the archive's signature and all digests. Raises Unavailable.
    """
    if missing := [each for each in ("apt-get", "dpkg-deb") if shutil.which(each) is None]:
        raise Unavailable(f"there is no {missing[0]}")
    home = shared_cache() / "packages"
    home.mkdir(exist_ok=True)
    lock = FileLock(home / "download.lock")
    lock.acquire(_LIMIT)
    with lock:
        try:
            return _unpacked(home, package, [])
        except Unavailable:
            # What this system knows of its archive may be old, or be nothing
            own = home / "lists"
            own.mkdir(exist_ok=True)
            lists = [f"Dir::State::lists={own}"]
            _apt(home, lists, "update")
            return _unpacked(home, package, lists)


def _unpacked(home: Path, package: str, lists: list[str]) -> Path:
    install = ("--no-install-recommends", "install", package)
    # With digests: another version is another folder
    wanted = _apt(home, lists, "--print-uris", *install)
    tree = home / f"{package}-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
    if not tree.exists():
        with tempfile.TemporaryDirectory(dir=home) as name:
            archives, fresh = Path(name, "archives"), Path(name, "tree")
            (archives / "partial").mkdir(parents=True)
            kept = [*lists, f"Dir::Cache::archives={archives}"]
            _apt(home, kept, "--download-only", *install)
            _unpack(sorted(archives.glob("*.deb")), fresh)
            fresh.rename(tree)
    return tree


def _apt(home: Path, options: list[str], *words: str) -> str:
    """Run apt-get, which leaves this system's own files as they are, and return what it says."""
    own = [f"Dir::Cache={home}", "APT::Sandbox::User=root", "Debug::NoLocking=1", *options]
    done = subprocess.run(
        ["apt-get", "-y", "-qq", *(f"-o{each}" for each in own), *words],
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        check=False,
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it says nothing"]
        raise Unavailable(f"apt-get {' '.join(words)}: {lines[0]}")
    return done.stdout


def _unpack(packages: list[Path], tree: Path) -> None:
    """Unpack all of them into ``tree``, /lib and its like being in /usr."""
    for each in ("bin", "lib", "lib64", "sbin"):
        (tree / "usr" / each).mkdir(parents=True)
        (tree / each).symlink_to(f"usr/{each}")
    for package in packages:
        packed = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True
        )
        argv = ["tar", "--extract", "--keep-directory-symlink", "--directory", str(tree)]
        subprocess.run(argv, input=packed.stdout, check=True)
